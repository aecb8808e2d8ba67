"""The dashboard is what its code makes, what Grafana takes, and shows the thresholds of the alerts."""

import json
import re
import subprocess
import sys
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from parquedb.observability.prometheus.dashboard import CALLERS_ERRORS, dashboard
from parquedb.observability.prometheus.panels import COLUMNS
from tests.observability.prometheus.test_alerts import ALERTS, RULES

DASHBOARD: dict[str, Any] = dashboard()
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
VARIABLES = {variable["name"] for variable in DASHBOARD["templating"]["list"]}

# The panels that draw what an alert looks at.
DRAWN = {
    "Failing calls": ("ParqueDBErrorRateHigh", "ParqueDBErrorRateCritical"),
    "Latency": ("ParqueDBLatencyTailHigh", "ParqueDBLatencyTailCritical"),
    "Median": ("ParqueDBLatencyMedianHigh",),
    "Commit lag": ("ParqueDBCommitLagHigh", "ParqueDBCommitLagCritical"),
    "Opening takes": ("ParqueDBColdStartSlow",),
    "Backpressure": ("ParqueDBBackpressure",),
    "Cache hits": ("ParqueDBCacheHitRateLow",),
    "Lost races": ("ParqueDBConflictStorm",),
    "Slow requests": ("ParqueDBStorageSlow",),
}


def printed(name: str) -> str:
    command = [sys.executable, "-m", "parquedb.observability.prometheus", name]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_stored_dashboard_is_what_the_code_makes_and_the_command_prints() -> None:
    stored = files("parquedb.observability.prometheus") / "dashboard.json"
    assert stored.read_text() == printed("dashboard")
    assert json.loads(stored.read_text()) == DASHBOARD


def test_the_command_prints_the_rules() -> None:
    assert printed("alerts") == RULES.read_text()


def test_the_command_says_what_it_can_print() -> None:
    command = [sys.executable, "-m", "parquedb.observability.prometheus", "tea"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "alerts|dashboard" in answer.stderr


def lost(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Name the places where `theirs` lacks something of ours, or has it otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        missing = [f"{where}.{name}" for name in ours.keys() - theirs.keys()]
        return missing + [
            at for name in ours.keys() & theirs for at in lost(ours[name], theirs[name], f"{where}.{name}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [at for place, (one, other) in pairs for at in lost(one, other, f"{where}[{place}]")]
    return [] if ours == theirs else [where]


def test_grafana_knows_every_field() -> None:
    # Its own model drops what it does not know, and adds its defaults.
    plugins.register_default_plugins()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, read) == []
    assert lost({**DASHBOARD, "refersh": "30s"}, read) == [".refersh"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= COLUMNS
        taken |= cells


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_uses_variables_that_exist_and_says_what_it_shows(panel: dict[str, Any]) -> None:
    used = set(re.findall(r"\$(\w+)", " ".join(target["expr"] for target in panel["targets"])))
    assert used <= VARIABLES | {"__rate_interval"}
    assert {"job", "instance"} <= used
    assert panel["description"]
    bounds = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert bounds[0] is None
    assert all(low < high for low, high in pairwise(bounds[1:]))


@pytest.mark.parametrize("title", DRAWN)
def test_a_panel_draws_the_thresholds_of_its_alerts(title: str) -> None:
    of_alerts = [float(re.findall(r"[<>] ([\d.]+)\s*$", ALERTS[alert]["expr"])[0]) for alert in DRAWN[title]]
    drawn = [step["value"] for step in PANELS[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert set(of_alerts) <= set(drawn)


def test_the_dashboard_and_the_alerts_leave_out_the_same_errors() -> None:
    assert f'error_type!~"{CALLERS_ERRORS}"' in RULES.read_text()
