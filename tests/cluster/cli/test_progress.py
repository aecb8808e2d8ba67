"""How far something is: bars on a terminal, lines elsewhere, and silence where it is over soon."""

from io import StringIO

from rich.console import Console

from parquedb.cluster.cli.progress import EVERY_S, Meter


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    now = [0.0]
    screen = Console(file=StringIO(), width=100)
    with Meter(screen, lambda: now[0]) as meter:
        meter.show("a.csv", 1, 10, "1 document")
        now[0] += EVERY_S
        meter.show("a.csv", 5, 10, "5 documents")
        meter.show("a.csv", 6, 10, "6 documents")
        now[0] += EVERY_S
        meter.show("[b]\x1b.csv", 7, None, "7 documents")
    assert screen.file.getvalue() == "a.csv: 50%, 5 documents\n[b]\\x1b.csv: 7 documents\n"  # type: ignore[attr-defined]


def test_on_a_terminal_there_are_bars_and_nothing_stays_of_them() -> None:
    screen = Console(file=StringIO(), width=100, force_terminal=True)
    with Meter(screen) as meter:
        meter.show("a.csv", 5, 10, "5 documents")
        meter.show("b.csv", 1, None, "1 document")
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "a.csv" in text
    assert "50%" in text
    assert text.endswith("\x1b[2K") or "\x1b[2K" in text, "the lines of the bars are cleared"
