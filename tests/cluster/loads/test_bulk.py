from typing import Any

import pytest

from parquedb.actors.requests.packing import decode_operations
from parquedb.cluster.loads import bulk
from parquedb.cluster.loads.bulk import Created, chunks
from parquedb.cluster.transport.calls import pack
from parquedb.cluster.transport.delivery import Delivery
from parquedb.errors import AlreadyExistsError, CancelledError_, ValidationError


def cut(docs: list[Any], **options: Any) -> list[Any]:
    return list(chunks("n", docs, **({"ordered": True, "actor": None, "request_id": None} | options)))


def test_documents_are_cut_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = cut([{"i": i} for i in range(bulk.CHUNK_DOCS_MAX * 2 + 1)], request_id="r")
    assert [len(operation.body) for operation in operations] == [bulk.CHUNK_DOCS_MAX, bulk.CHUNK_DOCS_MAX, 1]
    assert [operation.request for operation in operations] == ["r/0", "r/1", "r/2"]


def test_documents_are_cut_by_bytes_and_a_huge_one_travels_alone() -> None:
    big, small = {"b": b"x" * (bulk.CHUNK_BYTES_MAX // 2)}, {"b": b""}
    huge = {"b": b"x" * (bulk.CHUNK_BYTES_MAX + 1)}
    operations = cut([small, big, big, huge, small])
    assert [len(operation.body) for operation in operations] == [2, 1, 1, 1]


def test_the_documents_arrive_unchanged() -> None:
    docs = [{"$id": "a", "n": 1}, {"t": [1.5, None]}]
    [operation] = cut(docs, ordered=False, actor="me", request_id="r")
    part = Delivery(operation, now_s=0.0, timeout_s=1.0).part(0.0)
    [arrived] = decode_operations(pack([part]))
    assert arrived.body == docs
    assert arrived.options == {"ordered": False, "actor": "me"}
    assert arrived.request == "r"


def test_no_documents_make_one_empty_call() -> None:
    [operation] = cut([])
    assert operation.body == []


def test_something_that_is_no_document_is_named() -> None:
    with pytest.raises(ValidationError, match=r"docs\[1\]: expected a dict, got 5"):
        cut([{}, 5])


def test_answers_come_in_the_order_of_the_documents() -> None:
    created = Created(ordered=False)
    refused = AlreadyExistsError(id="b", namespace="n")
    assert created.add({"ids": ["n/a", None], "errors": [[1, refused.to_json()]]}, 2)
    assert created.add({"ids": ["n/c"], "errors": []}, 1)
    items = created.finish(3)
    assert items[0] == "n/a"
    assert isinstance(items[1], AlreadyExistsError)
    assert items[1].id == "b"
    assert items[2] == "n/c"


def test_after_a_refusal_in_order_the_rest_was_not_tried() -> None:
    created = Created(ordered=True)
    refused = AlreadyExistsError(id="b", namespace="n")
    assert not created.add({"ids": ["n/a", None], "errors": [[1, refused.to_json()]]}, 3)
    items = created.finish(5)
    assert [type(item) for item in items] == [str, AlreadyExistsError, *[CancelledError_] * 3]
    assert str(items[4]) == "not tried: a document before it was refused"
