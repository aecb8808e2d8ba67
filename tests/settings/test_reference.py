"""The page with every variable is what the settings classes say, and says it as they would be read."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from parquedb.settings import reference
from parquedb.settings.database import Settings, env_name
from parquedb.settings.environment import load_gateway_settings, load_settings
from parquedb.settings.gateway import GatewaySettings, gateway_env_name

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
ROWS = [row for rows in reference.variables().values() for row in rows]


def leaves(model: type[BaseModel], *path: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from leaves(group, *path, name)
        else:
            yield (*path, name)


def test_the_page_is_what_the_settings_classes_say() -> None:
    assert PAGE.read_text() == reference.render(), (
        "docs/configuration.md is stale: python -m parquedb.settings.reference > docs/configuration.md"
    )


def test_the_command_prints_the_page() -> None:
    command = [sys.executable, "-m", "parquedb.settings.reference"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == reference.render()


def test_every_setting_has_one_row_and_no_other_variable_has() -> None:
    expected = [env_name(*path) for path in leaves(Settings)]
    expected += [gateway_env_name(*path) for path in leaves(GatewaySettings)]
    assert sorted(row.name for row in ROWS) == sorted(expected)


def test_every_row_has_a_type_and_a_description_that_is_a_sentence() -> None:
    assert [row.name for row in ROWS if not row.kind or not row.description.endswith(".")] == []


def test_every_cell_stays_in_its_table() -> None:
    lines = [line for line in reference.render().splitlines() if line.startswith("| `")]
    assert len(lines) == len(ROWS)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("timeout_s", 0.2, "0.2 s"),
        ("timeout_s_max", 60, "60 s"),
        ("history_window_s", 7 * 86_400, "7 days"),
        ("log_grace_s", 86_400, "86 400 s"),
        ("keep_s", 36_500 * 86_400, "36 500 days"),
        ("flush_bytes", 64 << 20, "64 MiB"),
        ("query_memory_max", 1 << 16, "64 KiB"),
        ("url_bytes_max", 1000, "1000 B"),
        ("compaction_dead_share", 0.3, "0.3"),
        ("port", 8000, "8000"),
        ("queue_ops_max", 20_000, "20 000"),
    ],
)
def test_a_number_has_the_unit_that_its_name_says(name: str, value: float, words: str) -> None:
    assert reference.amount(name, value) == words


def test_a_unit_that_both_bounds_have_is_told_once() -> None:
    bounds = {row.name: row.bounds for row in ROWS}
    assert bounds["PARQUEDB_ENGINE__READ_LEASE_S"] == "0 to 30 s"
    assert bounds["PARQUEDB_ENGINE__FLUSH_BYTES"] == "1 KiB to 4 GiB"
    assert bounds["PARQUEDB_ENGINE__COMPACTION_DEAD_SHARE"] == "above 0, 1 or less"
    assert bounds["PARQUEDB_GATEWAY__PORT"] == "0 to 65 535"


def test_a_type_without_words_is_not_passed_over() -> None:
    class Odd(BaseModel):
        odd: dict[str, int] = Field(default={}, description="Odd.")

    with pytest.raises(TypeError, match="words for"):
        list(reference._variables_of(Odd, env_name))


@pytest.mark.parametrize("row", [row for row in ROWS if row.default.startswith("`")], ids=lambda row: row.name)
def test_a_default_in_code_font_is_what_the_variable_may_hold(
    row: reference.Variable, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Any = load_gateway_settings if row.name.startswith(("PARQUEDB_GATEWAY", "PARQUEDB_ENV")) else load_settings
    monkeypatch.setenv("PARQUEDB_URL", "a")
    before = load()
    monkeypatch.setenv(row.name, row.default.strip("`"))
    assert load() == before
