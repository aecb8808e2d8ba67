"""Entries of the log: their bytes, their names, and which may follow which."""

import pytest

from parquedb.errors import CorruptionError
from parquedb.storage.log.entry import (
    GENESIS,
    BackPointer,
    Kind,
    decode_entry,
    encode_entry,
    entry_key,
    is_successor,
    position_of,
)
from parquedb.storage.log.events import Action, Event, RequestRecord, decode_body, encode_body
from tests.support.chains import INCARNATION, commit_id, entry

CHAINED = {"incarnation": INCARNATION, "previous": commit_id("c6"), "position": 7, "epoch": 3, "seq": 42}


def test_later_entries_sort_first() -> None:
    keys = [entry_key(position) for position in (1, 2, 9, 10, 999, 10**19)]
    assert sorted(keys, reverse=True) == keys
    assert [position_of(f"posts/{key}") for key in keys] == [1, 2, 9, 10, 999, 10**19]


@pytest.mark.parametrize("name", ["log/1", "log/x" + "0" * 19, "log/", "log/" + "0" * 21])
def test_a_strange_name_in_the_log_is_corruption(name: str) -> None:
    with pytest.raises(CorruptionError, match="not the name of a log entry"):
        position_of(name)


def test_an_entry_comes_back_as_it_was() -> None:
    made = entry(7, seq=42, epoch=3, base=BackPointer(5, "manifest/x", 9, 4), events=(Event("c", "a", {"n": 1}),))
    back = decode_entry("k", encode_entry(made))
    assert back == made
    assert back.next_seq == 43


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_one_changed_or_missing_byte_is_noticed_and_named(at: int) -> None:
    data = encode_entry(entry(7))
    at %= len(data)
    for damaged in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at], data + b"x"):
        with pytest.raises(CorruptionError, match="posts/log/7") as caught:
            decode_entry("posts/log/7", damaged)
        assert caught.value.key == "posts/log/7"


def test_an_entry_follows_only_its_predecessor() -> None:
    good = entry(7, seq=42, epoch=3)
    assert is_successor(good, **CHAINED)
    wrong = {"incarnation": b"x" * 16, "previous": commit_id("zombie"), "position": 8, "epoch": 4, "seq": 41}
    for name, value in wrong.items():
        assert not is_successor(good, **{**CHAINED, name: value}), name


def test_the_epoch_of_an_open_entry_is_its_position() -> None:
    assert is_successor(entry(7, kind=Kind.OPEN, seq=42), **CHAINED)
    assert not is_successor(entry(7, kind=Kind.CLOSE, epoch=7, seq=42), **CHAINED)


def test_the_first_entry_brings_its_incarnation() -> None:
    first = entry(1, kind=Kind.OPEN)
    assert is_successor(first, incarnation=GENESIS, previous=GENESIS, position=1, epoch=0, seq=1)


def test_events_and_requests_come_back_as_they_were() -> None:
    events = [Event(Action.CREATE.value, "a", {"n": 1}), Event(Action.REMOVE.value, "a", None)]
    records = [RequestRecord([b"s", 1, 1, 0], "create", 0, 1), RequestRecord("mine", "delete", 1, 1, 1)]
    unnamed = RequestRecord(None, "create", 0, 1)
    assert decode_body("k", encode_body(events, [*records, unnamed])) == (events, records)


def test_a_body_of_another_shape_is_corruption_that_names_the_entry() -> None:
    for body in (b"", b"\xc1", encode_body([], [])[:-1], b"\x93\x01\x02\x03"):
        with pytest.raises(CorruptionError, match="posts/log/9"):
            decode_body("posts/log/9", body)
