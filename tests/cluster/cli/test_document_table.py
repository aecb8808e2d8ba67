"""Documents as a table: which columns there is room for, how wide they are, and what is never printed."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from parquedb.cluster.cli.document_table import DocumentTable, cell_of, fitted


def shown(documents: list[dict[str, Any]], width: int | None) -> tuple[list[str], list[str]]:
    screen = Console(file=StringIO(), width=width or 80, highlight=False)
    table = DocumentTable(screen, width)
    table.show(documents)
    return screen.file.getvalue().splitlines(), table.hidden  # type: ignore[attr-defined]


PEOPLE = [
    {"$id": "p/1", "name": "Ada", "age": 36, "version": 1, "createdAt": datetime(2026, 1, 2, tzinfo=UTC)},
    {"$id": "p/2", "name": "Grace [Hopper]", "home": {"city": "Bern"}, "version": 12},
]


def test_the_id_comes_first_what_the_database_sets_last_and_numbers_stand_on_the_right() -> None:
    assert shown(PEOPLE, None)[0] == [
        "$id  name            age  home             version  createdAt",
        "p/1  Ada              36                         1  2026-01-02 00:00:00Z",
        'p/2  Grace [Hopper]       {"city":"Bern"}       12',
    ]


@pytest.mark.parametrize(
    ("width", "heading", "left_out"),
    [
        (90, "$id  name            age  home             version  createdAt", []),
        (60, "$id  name            age  home             version", ["createdAt"]),
        (45, "$id  name            age  home", ["version", "createdAt"]),
        (36, "$id  name          age  home", ["version", "createdAt"]),
        (20, "$id  name", ["age", "home", "version", "createdAt"]),
    ],
)
def test_columns_that_find_no_room_are_left_out_from_the_end_those_of_the_database_first(
    width: int, heading: str, left_out: list[str]
) -> None:
    lines, hidden = shown(PEOPLE, width)
    assert (lines[0], hidden) == (heading, left_out)
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_screen_even_where_signs_take_two_cells(width: int) -> None:
    documents = [{"$id": f"n/{number}", **{f"字段{at}": "値" * 30 for at in range(12)}} for number in range(5)]
    lines, hidden = shown(documents, width)
    assert len(lines) == 6
    assert max(map(cell_len, lines)) <= width
    assert (12 - len(hidden)) >= width // 20


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 250))
def test_columns_never_take_more_than_there_is_nor_more_than_they_want(wanted: dict[str, int], width: int) -> None:
    widths = fitted(wanted, width)
    assert list(widths) == list(wanted)[: len(widths)]
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= width
    assert all(0 < widths[name] <= wanted[name] for name in widths)
    if len(widths) == len(wanted) and sum(wanted.values()) + 2 * (len(wanted) - 1) <= width:
        assert widths == wanted


def test_what_the_database_sets_is_shown_where_nothing_else_was_asked_for() -> None:
    lines, hidden = shown([{"createdAt": datetime(2026, 1, 2, tzinfo=UTC), "updatedAt": 1}], 15)
    assert lines == ["createdAt", "2026-01-02 00:…"]
    assert hidden == ["updatedAt"]


def test_later_pages_keep_the_columns_of_the_first() -> None:
    screen = Console(file=StringIO(), width=80)
    table = DocumentTable(screen, 80)
    table.show([{"$id": "a", "n": 1}])
    table.show([{"$id": "bcd", "n": 2, "late": True}])
    table.show([])
    assert screen.file.getvalue().splitlines() == ["$id  n", "a    1", "bcd  2"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("plain", "plain"),
        ("two\nlines\t\x1b[2J\u202e", "two\\nlines\\t\\x1b[2J\\u202e"),
        ("\ud800", "\\ud800"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 1, 2), '{"$day":"2026-01-02"}'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))), "2026-01-02 02:04:05Z"),
        ([1, {"a": "\x07"}], '[1,{"a":"\\u0007"}]'),
    ],
)
def test_a_value_stands_on_one_line_with_nothing_that_a_terminal_would_obey(value: Any, cell: str) -> None:
    assert cell_of(value) == cell
    assert cell.isprintable()


def test_a_field_whose_name_is_an_escape_sequence_is_harmless() -> None:
    lines, _ = shown([{"$id": "a", "x\x1b]0;owned\x07": "[red]not ours[/]"}], 80)
    assert lines == ["$id  x\\x1b]0;owned\\x07", "a    [red]not ours[/]"]
