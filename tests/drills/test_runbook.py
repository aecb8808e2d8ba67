"""`docs/runbook.md` is held to the alerts, the commands and the drills. What its blocks do is seen by `make drills`."""

import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from parquedb.observability.prometheus.alerts import alerts_yaml
from parquedb.settings import ClientSettings, EngineSettings, StorageSettings
from tests.drills.__main__ import table
from tests.drills.drill import Result
from tests.drills.incidents import INCIDENTS
from tests.drills.runbook import PAGE, PARTS, STEPS, Entry, anchor, entries
from tests.drills.site import COMMANDS, ROOT

RULES = [rule for group in yaml.safe_load(alerts_yaml())["groups"] for rule in group["rules"] if "alert" in rule]
ALERTS: dict[str, Any] = {rule["alert"]: rule for rule in RULES}
ENTRIES = entries()
PROGRAMS = {"curl", "jq", "parquedb", "df", "for", "done", "until"}


def anchor_of(alert: str) -> str:
    page, _, found = ALERTS[alert]["annotations"]["runbook_url"].partition("#")
    assert page == PAGE.relative_to(ROOT).as_posix()
    return found


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_leads_to_an_entry_that_names_it(alert: str) -> None:
    entry = ENTRIES[anchor_of(alert)]
    assert f"`{alert}`" in entry.text


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_names_alerts_that_exist_and_the_one_that_leads_there(entry: Entry) -> None:
    assert {entry.alert, *entry.companions} <= ALERTS.keys()
    assert anchor_of(entry.alert) == entry.name
    assert set(re.findall(r"`(ParqueDB[A-Z]\w+)`", entry.text)) <= ALERTS.keys()


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_says_all_that_is_needed(entry: Entry) -> None:
    assert [part for part in PARTS if f"**{part}**" not in entry.text] == []
    assert [step for step in STEPS if not entry.blocks[step].strip()] == []


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_names_events_of_the_log_and_settings_that_exist(entry: Entry) -> None:
    named = set(re.findall(r"`((?:[a-z]+)\.[a-z_]+)`", entry.text))
    groups = {"engine": EngineSettings, "storage": StorageSettings, "client": ClientSettings}
    settings = {f"{name}.{field}" for name, group in groups.items() for field in group.model_fields}
    events = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", (ROOT / "docs" / "logging.md").read_text()))
    assert named <= settings | events


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_the_blocks_of_an_entry_are_shell_and_call_what_exists(entry: Entry) -> None:
    for block in entry.blocks.values():
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
    called = set(re.findall(r"^\s*(\w+)", joined(entry), flags=re.MULTILINE))
    assert called <= PROGRAMS | set(COMMANDS)
    assert set(re.findall(r"\bparquedb (\w+)", joined(entry))) <= sub_commands()


def joined(entry: Entry) -> str:
    """Return all commands of an entry, each on one line."""
    return "\n".join(entry.blocks.values()).replace("\\\n", " ")


def sub_commands() -> set[str]:
    command = [sys.executable, "-m", "parquedb.cluster.cli", "--help"]
    words = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\b[a-z]+\b", words))


def test_every_entry_is_drilled_and_every_drill_has_an_entry() -> None:
    assert [incident.name for incident in INCIDENTS] == list(ENTRIES)


def test_the_page_shows_an_example_of_each_command_of_a_site() -> None:
    defined = re.findall(r"^(\w+)\(\)", PAGE.read_text(), flags=re.MULTILINE)
    assert sorted(defined) == sorted(COMMANDS)
    used = {name for entry in ENTRIES.values() for name in COMMANDS if re.search(rf"^\s*{name}\b", joined(entry), re.M)}
    assert used == set(COMMANDS)


def test_blocks_are_taken_from_the_page_as_they_stand() -> None:
    text = PAGE.read_text()
    assert len(ENTRIES) >= 3
    assert all(f"```sh\n{block}```" in text for entry in ENTRIES.values() for block in entry.blocks.values())
    assert anchor("Version-conflict storm") == "version-conflict-storm"
    assert shutil.which("bash")


def test_the_table_says_what_was_wrong_with_a_drill() -> None:
    bad = Result("full-disk", "ParqueDBStorageFull", faults=["it did not fire"])
    good = Result("lost-node", "ParqueDBNodeLost", 2.5, 3.5, along=["ParqueDBErrorRateHigh"], acknowledged=7)
    lines = table([bad, good]).splitlines()
    assert lines[1].split() == ["full-disk", "ParqueDBStorageFull", "-", "-", "0", "0", "FAILED"]
    assert lines[2].split() == ["!", "it", "did", "not", "fire"]
    assert lines[3].split() == ["lost-node", "ParqueDBNodeLost", "2.5", "s", "3.5", "s", "7", "0", "ok"]
    assert lines[4].split() == ["along:", "ParqueDBErrorRateHigh"]
