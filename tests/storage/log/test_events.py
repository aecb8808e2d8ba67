"""Bodies of write entries: what stands for many events comes back as each of them, in order."""

from datetime import UTC, datetime
from typing import Any

import pytest

from parquedb.documents.codec import encode
from parquedb.errors import CorruptionError
from parquedb.storage.log.events import Created, Event, RequestRecord, Updated, decode_body, decode_packed, encode_body

AT = datetime(2026, 1, 2, tzinfo=UTC)
FIRST = [b"s" * 16, 7, 1, 0]


def document(id_: str, version: int) -> dict[str, Any]:
    return {"$id": f"posts/{id_}", "version": version}


def updated(numbers: list[int], *ids: str) -> Updated:
    documents = [document(id_, 2) for id_ in ids]
    return Updated(list(ids), documents, numbers, FIRST, list(map(encode, documents)))


@pytest.mark.parametrize("numbers", [[0, 1], [1, 4]])
def test_joined_events_come_back_one_by_one_with_their_requests_in_order(numbers: list[int]) -> None:
    body = encode({"n": 1})
    events = [
        Created("posts/", ["x"], AT, [len(body)], body, [b"c" * 16, 3, 1, 0]),
        updated(numbers, "a", "b"),
        Event("u", "a", document("a", 3)),
    ]
    single = RequestRecord("mine", "update", 3, 1)

    found, records = decode_body("log/1", encode_body(events, [single]))

    assert [(event.action, event.id, event.document and event.document["version"]) for event in found] == [
        ("c", "x", 1),
        ("u", "a", 2),
        ("u", "b", 2),
        ("u", "a", 3),
    ]
    assert [(record.first_event, record.kind, record.request) for record in records] == [
        (0, "create", [b"c" * 16, 3, 1, 0]),
        (1, "update", [b"s" * 16, 7 + numbers[0], 1, 0]),
        (2, "update", [b"s" * 16, 7 + numbers[1], 1, 0]),
        (3, "update", "mine"),
    ]


@pytest.mark.parametrize("wire", [["w", ["a"], [], None, FIRST], ["w", ["a"], [{}], [0, 1], FIRST], ["w", ["a"]]])
def test_updates_that_do_not_fit_together_are_corrupt(wire: list[Any]) -> None:
    with pytest.raises(CorruptionError, match="log/1"):
        decode_packed("log/1", encode([[wire], []]))
