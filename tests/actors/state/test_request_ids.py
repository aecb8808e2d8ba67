"""Callers' own request ids: remembered within the window, refused rather than applied twice beyond it (rule 26)."""

import pytest

from parquedb.actors.state.request_ids import CLOCK_SKEW_US, RequestIds
from parquedb.actors.state.sessions import Receipt
from parquedb.errors import CorruptionError, OutcomeUnknownError

WINDOW_US = 100_000_000


def receipt(number: int) -> Receipt:
    return Receipt("create", number, {"$id": f"posts/{number}", "version": 1, "n": number})


@pytest.fixture
def ids() -> RequestIds:
    return RequestIds(ids_max=3, window_us=WINDOW_US)


def test_an_id_is_found_again(ids: RequestIds) -> None:
    assert ids.lookup("a", 0, 1) is None
    ids.record("a", receipt(1), 1)
    assert ids.lookup("a", 0, 2) == receipt(1)
    assert ids.lookup("b", 1, 2) is None


def test_beyond_the_count_a_retry_is_refused_and_a_first_attempt_is_not(ids: RequestIds) -> None:
    for number in range(5):
        ids.record(f"id{number}", receipt(number), log_us=1000 * number)
    assert (len(ids), ids.floor_us) == (3, 1000)
    with pytest.raises(OutcomeUnknownError, match="may have been applied") as caught:
        ids.lookup("id0", age_us=5000, log_us=5000)
    assert caught.value.request_id == "id0"
    assert ids.lookup("fresh", age_us=0, log_us=5000) is None
    # Log time may have jumped by as much as two owners' clocks differ.
    later_us = 1001 + CLOCK_SKEW_US
    assert ids.lookup("fresh", age_us=1, log_us=later_us + 1) is None
    with pytest.raises(OutcomeUnknownError):
        ids.lookup("fresh", age_us=1, log_us=later_us)


def test_what_left_with_its_segment_is_below_the_floor(ids: RequestIds) -> None:
    """A checkpoint drops old segments although no new id came to push the old ones out."""
    ids.record("a", receipt(1), log_us=10)
    ids.expire(10 + WINDOW_US)
    assert len(ids) == 1
    ids.expire(11 + WINDOW_US)
    assert (len(ids), ids.floor_us) == (0, 10)


def test_segments_hold_what_is_new_and_bring_it_back(ids: RequestIds) -> None:
    ids.record("a", receipt(1), 1)
    ids.record("b", Receipt("delete", 2, 1), 2)
    fresh = ids.take_fresh()
    assert fresh is not None
    data, newest_us, count = fresh
    assert (newest_us, count) == (2, 2)
    assert ids.take_fresh() is None
    again = RequestIds(3, WINDOW_US)
    again.load("dedupe/1-a", data)
    found = again.lookup("a", 0, 3)
    assert found is not None
    assert (found.value, found.thin, found.seq) == ({"$id": "posts/1", "version": 1}, True, 1)
    assert again.lookup("b", 0, 3) == Receipt("delete", 2, 1)


@pytest.mark.parametrize("segment", [b"", b"rubbish", b"\x91\x01"])
def test_a_damaged_segment_is_named(ids: RequestIds, segment: bytes) -> None:
    with pytest.raises(CorruptionError, match="dedupe/1-a"):
        ids.load("dedupe/1-a", segment)
