"""The benchmarks' own code: what they count, and what the table says of it. Nothing here is measured."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.bench import take_turns
from benchmarks.commits import in_process
from benchmarks.counting import Counted
from benchmarks.load import RAMP_S, Caller, Offered
from benchmarks.opening import open_once, write_history
from benchmarks.table import Row, compared, machine, markdown


def test_a_request_that_waited_for_another_is_one_round_trip_later() -> None:
    counted = Counted()
    first = counted.start("list", "ns/log/")
    beside = counted.start("list", "ns/manifest/")
    counted.end(first)
    second = counted.start("read", "ns/log/1")
    counted.end(beside)
    third = counted.start("read", "ns/log/2")
    assert (first, beside, second, third) == (1, 1, 2, 2)
    counted.end(third)
    counted.start("create", "ns/log/3")
    assert counted.waves == 3
    assert counted.of("read") == 2
    assert counted.of(below="ns/log/") == 4


@pytest.mark.parametrize(
    ("sign", "ratio", "verdict"),
    [(">=", 20.0, "pass"), (">=", 19.9, "FAIL"), ("<=", 1.25, "pass"), ("<=", 1.3, "FAIL")],
)
def test_a_row_passes_when_its_ratio_meets_the_bar(sign: str, ratio: float, verdict: str) -> None:
    bar = 20.0 if sign == ">=" else 1.25
    assert Row("x", "1 /s", ratio=ratio, bar=(sign, bar)).verdict == verdict


def test_a_compared_row_tells_the_medians_and_the_range_of_the_rounds() -> None:
    row = compared("x", [10.0, 40.0, 20.0], [10.0, 10.0, 10.0], unit="/s", peer="no-op")
    assert row.cells() == ("x", "20 /s", "10 /s (no-op)", "2", "1 to 4", "-", "report")


def test_each_variant_goes_first_in_its_turn() -> None:
    order: list[str] = []

    def variant(name: str) -> float:
        order.append(name)
        return len(order)

    results = take_turns(2, {"a": lambda: variant("a"), "b": lambda: variant("b")})
    assert order == ["a", "b", "b", "a"]
    assert results == {"a": [1, 4], "b": [2, 3]}


def test_the_table_gives_each_note_once_and_no_path(tmp_path: Path) -> None:
    rows = [Row("one", "1", note="Same."), Row("two", "2", note="Same."), Row("three", "3", note="Other.")]
    text = markdown(rows, machine(tmp_path))
    assert "| one [1] |" in text
    assert "| two [1] |" in text
    assert "| three [2] |" in text
    assert text.endswith("1. Same.\n2. Other.\n")
    assert str(tmp_path) not in text


async def test_an_engine_opens_in_three_round_trips_and_verifies_in_one_more(tmp_path: Path) -> None:
    await write_history(tmp_path / "db", 3)
    opening = await open_once(tmp_path / "db", end_cleanly=True)
    assert (opening.waves, opening.verifying) == (3, 1)
    assert opening.requests >= 6  # Two listings, three writes and an `open` to read, our own `open`.


async def test_many_writes_in_flight_share_a_put(tmp_path: Path) -> None:
    row = await in_process(tmp_path / "db", callers=100, each=3)
    assert row.ratio == 1.0
    assert row.figure.startswith("3 for 3 commits"), row.figure


async def test_an_open_loop_offers_by_the_clock_though_nothing_is_answered() -> None:
    answer = asyncio.Event()
    caller = Caller({}, "events", bare=False)
    caller._call = answer.wait
    offering = asyncio.ensure_future(caller.open(1000.0, 0.2))
    await asyncio.sleep(RAMP_S + 0.3)
    answer.set()
    offered = await offering
    assert offered.sent == pytest.approx(1000 * (RAMP_S + 0.2), abs=1)
    assert offered.acknowledged == 0, "answers that come after the time are not counted"


def test_loads_offered_side_by_side_add_up() -> None:
    total = Offered(2.0, 10, 5, Counter(BackpressureError=5), [0.1], 7) + Offered(2.0, 20, 20, Counter(), [0.2], 3)
    assert total == Offered(2.0, 30, 25, Counter(BackpressureError=5), [0.1, 0.2], 7)
