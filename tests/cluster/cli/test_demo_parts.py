"""The `parquedb` command line, and the parts of the demo that need no database."""

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from parquedb.cluster.cli import demo_data
from parquedb.cluster.cli.demo import Demo
from parquedb.cluster.cli.demo_faults import Journal
from parquedb.cluster.cli.demo_screen import Screen, quantile
from parquedb.cluster.cli.demo_trace import Span, is_whole, trees
from parquedb.cluster.cli.main import main
from parquedb.cluster.cli.wording import duration


def screen() -> Screen:
    return Screen(Console(file=StringIO(), width=100))


def shown(on: Screen) -> str:
    assert isinstance(on.console.file, StringIO)
    return on.console.file.getvalue()


def test_the_demo_refuses_a_directory_that_holds_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").write_text("data")
    assert main(["demo", "--directory", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "data"


def test_the_data_set_is_complete_and_every_document_has_an_id_of_its_own() -> None:
    rows = {part.namespace: part.table.num_rows for part in demo_data.load()}
    assert rows == {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115, "flights": 336776}
    for part in demo_data.load(flights_max=20_000):
        ids = [document["$id"] for chunk in part.chunks(2_000) for document in chunk]
        assert len(set(ids)) == part.table.num_rows == len(ids)


def test_chunks_hold_plain_values_and_leave_missing_ones_out() -> None:
    flights = demo_data.load(flights_max=1_000)[-1]
    chunks = list(flights.chunks(400))
    assert [len(chunk) for chunk in chunks] == [400, 400, 200]
    first = chunks[0][0]
    assert first["$id"] == "2013-01-01T10-UA1545"
    assert first["time_hour"] == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert first["dep_delay"] == 2
    cancelled = [document for chunk in chunks for document in chunk if "dep_time" not in document]
    assert cancelled
    assert all(value is not None for document in cancelled for value in document.values())


@pytest.mark.parametrize(("seconds", "words"), [(0.0000424, "42 µs"), (0.00123, "1.2 ms"), (12.34, "12.3 s")])
def test_a_duration_gets_the_unit_a_reader_would_choose(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.99) == 1.0


def test_the_longest_gap_between_acknowledgements_is_found() -> None:
    assert Journal(moments_s=[1.0, 1.1, 3.0, 3.2]).gap_s() == pytest.approx(1.9)
    assert Journal().gap_s() == 0


def test_one_failed_proof_fails_the_demo_and_is_named_at_the_end() -> None:
    on = screen()
    on.prove("two is two", True)
    on.prove("nothing is lost", False)
    assert on.conclude(1.0) is False
    assert shown(on).count("nothing is lost") == 2
    assert "1 of 2 proofs failed" in shown(on)


def test_a_demo_that_proved_nothing_has_failed() -> None:
    assert screen().conclude(1.0) is False


def test_a_demo_whose_proofs_held_says_how_many() -> None:
    on = screen()
    on.prove("two is two", True)
    assert on.conclude(61.0) is True
    assert "All 1 proofs held" in shown(on)


def test_a_program_is_told_of_the_proofs_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = Demo.prepared(tmp_path, as_json=True)
    demo.screen.prove("two is two", True)
    demo.screen.prove("nothing is lost", False)
    assert demo.conclude(2.5) is False
    told = capsys.readouterr()
    assert json.loads(told.out) == {"ok": False, "held": 1, "failed": ["nothing is lost"], "seconds": 2.5}
    assert "1 of 2 proofs failed" in told.err


def span(name: str, number: int, parent: int | None, pid: int) -> Span:
    parent_id = None if parent is None else f"{parent:016x}"
    return Span("t", f"{number:016x}", parent_id, name, number * 1_000, number * 1_000 + 500_000, pid, {})


WHOLE = [
    span("update traced", 1, None, 10),
    span("execute traced", 2, 1, 20),
    span("commit traced", 3, 2, 20),
    span("storage.create", 4, 3, 20),
]


def test_a_whole_trace_is_drawn_as_one_tree() -> None:
    (tree,) = trees(WHOLE)
    on = screen()
    on.show(tree)
    lines = [line for line in shown(on).splitlines() if "traced" in line or "storage" in line]
    assert [line.index(name) for line, name in zip(lines, ("upd", "exe", "com", "sto"), strict=True)] == [0, 4, 8, 12]
    assert "caller 10" in lines[0]
    assert "owner 20" in lines[3]
    assert is_whole(WHOLE)


@pytest.mark.parametrize(
    "spans",
    [
        [],
        WHOLE[:3],
        [WHOLE[0], *WHOLE[2:]],
        [*WHOLE[:3], span("storage.create", 4, 2, 20)],
        [span(one.name, number, number - 1 or None, 10) for number, one in enumerate(WHOLE, 1)],
    ],
    ids=["nothing", "no storage call", "a missing parent", "storage outside the commit", "one process only"],
)
def test_a_trace_that_is_not_whole_is_told_apart(spans: list[Span]) -> None:
    assert not is_whole(spans)
