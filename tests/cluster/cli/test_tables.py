"""Tables on screens of all widths: whatever happens to them, what is in them can be read."""

from io import StringIO

import pytest
from rich.bar import Bar
from rich.console import Console
from rich.text import Text

from parquedb.cluster.cli.tables import NAME_LEAST, FittedTable

NAMES = ("a-namespace-with-quite-a-long-name", "orders")
NUMBERS = "12,345,678"


def table() -> FittedTable:
    made = FittedTable("namespace", "state", ">rows", "")
    for name in NAMES:
        made.add_row(name, Text("open", style="green"), NUMBERS, Bar(1, 0, 1, width=5))
    return made


def shown(made: FittedTable, width: int) -> list[str]:
    screen = Console(file=StringIO(), width=width, highlight=False)
    screen.print(made, soft_wrap=True)
    return screen.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_where_there_is_room_a_row_is_a_line() -> None:
    lines = shown(table(), 200)
    assert [line.split()[:3] for line in lines] == [
        ["namespace", "state", "rows"],
        *([one, "open", NUMBERS] for one in NAMES),
    ]
    assert len({line.index(NUMBERS) for line in lines[1:]}) == 1


@pytest.mark.parametrize("width", range(1, 70))
def test_no_name_and_no_number_is_lost_at_any_width(width: int) -> None:
    lines = shown(table(), width)
    text = "".join(lines)
    assert "…" not in text
    assert text.count(NUMBERS) == text.count("open") == 2
    heading = lines[0].split()
    if heading == ["namespace", "state", "rows"]:
        assert max(map(len, lines)) <= width
        folded = "".join(line[: lines[0].index("state")].strip() for line in lines[1:])
        assert folded == "".join(NAMES)
    else:
        assert lines == [*row(NAMES[0]), "", *row(NAMES[1])]


def row(name: str) -> list[str]:
    return [f"namespace  {name}", "state      open", f"rows       {NUMBERS}"]


def test_names_are_folded_before_rows_are_taken_apart_and_not_letter_by_letter() -> None:
    made, widest = table(), max(len("namespace"), *map(len, NAMES))
    natural = max(map(len, shown(made, 200)))
    least = natural - widest + NAME_LEAST
    assert shown(made, least)[0].split() == ["namespace", "state", "rows"]
    assert shown(made, least - 1)[0] == f"namespace  {NAMES[0]}"
    assert max(map(len, shown(made, 200))) == natural, "a screen that grows shows it whole again"
