"""What a write does to the documents, decided without any I/O."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from parquedb.actors.requests.operations import Operation
from parquedb.actors.writes.draft import Draft
from parquedb.actors.writes.evaluate import Rules, prepare
from parquedb.documents.codec import decode
from parquedb.errors import (
    AlreadyExistsError,
    EntityNotFoundError,
    InvalidInputError,
    InvalidUpdateError,
    ParqueDBError,
    ValidationError,
    VersionConflictError,
)
from parquedb.storage.log.events import Event

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RULES = Rules("posts", document_bytes_max=2000, depth_max=5)
OLD: dict[str, Any] = {
    "$id": "posts/a",
    "n": 1,
    "version": 3,
    "createdAt": datetime(2025, 1, 1, tzinfo=UTC),
    "createdBy": "ann",
    "updatedAt": datetime(2025, 1, 1, tzinfo=UTC),
    "updatedBy": "ann",
}


def draft() -> Draft:
    return Draft({"a": OLD}.get, NOW, lambda count: ["made-up"] * count)


def do(kind: str, id_: str | None = "a", body: Any = None, *, on: Draft | None = None, **options: Any) -> Any:
    return prepare(Operation(kind, id_, body, options), RULES).run(on or draft())


def test_a_document_without_an_id_gets_one() -> None:
    made = do("create", None, {"n": 1})
    assert (made["$id"], made["version"], made["createdAt"]) == ("posts/made-up", 1, NOW)


def test_an_id_may_stand_in_the_document_with_or_without_its_namespace() -> None:
    assert do("create", None, {"$id": "posts/x"})["$id"] == "posts/x"
    assert do("create", None, {"$id": "x"})["$id"] == "posts/x"


@pytest.mark.parametrize("name", ["version", "createdAt", "deletedAt", "updatedBy"])
def test_managed_fields_cannot_be_given(name: str) -> None:
    with pytest.raises(ValidationError, match=f"'{name}' is set by the database"):
        do("create", "b", {name: 1})


@pytest.mark.parametrize("name", ["version", "createdAt", "deletedAt", "updatedBy", "$id"])
@pytest.mark.parametrize("operator", ["$set", "$unset"])
def test_managed_fields_cannot_be_updated(name: str, operator: str) -> None:
    target = draft()
    with pytest.raises((ValidationError, InvalidUpdateError)):
        do("update", body={operator: {name: 1}}, on=target)
    assert target.events == []


def test_an_update_keeps_who_created_and_says_who_changed() -> None:
    changed = do("update", body={"$inc": {"n": 1}}, actor="bob")
    assert (changed["n"], changed["version"], changed["createdBy"], changed["updatedBy"]) == (2, 4, "ann", "bob")
    assert "updatedBy" not in do("update", body={"$inc": {"n": 1}})
    assert OLD["n"] == 1


def test_an_update_can_return_what_was_before() -> None:
    assert do("update", body={"$set": {"n": 9}}, return_document="before") == OLD
    assert do("update", "new", {"$set": {"n": 9}}, return_document="before", upsert=True) is None


def test_an_upsert_makes_what_is_missing() -> None:
    made = do("update", "new", {"$set": {"n": 9}}, upsert=True)
    assert (made["$id"], made["n"], made["version"]) == ("posts/new", 9, 1)


def test_replace_keeps_the_creation_and_drops_the_rest() -> None:
    replaced = do("replace", body={**OLD, "n": None, "m": 1, "version": 99})
    assert (replaced["m"], replaced["n"], replaced["version"]) == (1, None, 4)
    assert replaced["createdBy"] == "ann"
    assert "n" not in do("replace", body={"m": 1})
    with pytest.raises(ValidationError, match="cannot change"):
        do("replace", body={"$id": "posts/b"})


def test_deleting_twice_counts_once_and_a_hard_delete_forgets() -> None:
    target = draft()
    assert [do("delete", on=target), do("delete", on=target)] == [1, 0]
    found = target.current("a")
    assert found is not None
    assert (found["version"], found["deletedAt"]) == (4, NOW)
    assert do("delete", hard=True, on=target) == 1
    assert target.current("a") is None
    assert [event.action for event in target.events] == ["d", "x"]


def test_a_deleted_document_is_there_for_create_and_restore_only() -> None:
    target = draft()
    do("delete", on=target)
    for kind, body, error in (
        ("create", {}, AlreadyExistsError),
        ("update", {"$inc": {"n": 1}}, EntityNotFoundError),
        ("replace", {}, EntityNotFoundError),
    ):
        with pytest.raises(error):
            do(kind, body=body, on=target)
    with pytest.raises(AlreadyExistsError, match="restore it first"):
        do("update", body={"$inc": {"n": 1}}, upsert=True, on=target)
    assert do("restore", on=target)["version"] == 5


REFUSED = [
    ("create", "a", {}, {}),
    ("update", "a", {"$inc": {"n": 1}}, {"expected_version": 2}),
    ("update", "b", {"$inc": {"n": 1}}, {"expected_version": 1}),
    ("update", "a", {"$inc": {"createdBy": 1}}, {}),
    ("update", "a", {"$set": {"x": "y" * 3000}}, {}),
    ("replace", "a", {}, {"expected_version": 9}),
    ("delete", "a", None, {"expected_version": 9}),
    ("restore", "b", None, {}),
    (
        "batch",
        None,
        [Operation("delete", "a").to_wire(), Operation("update", "a", {"$inc": {"n": 1}}).to_wire()],
        {},
    ),
]


@pytest.mark.parametrize(("kind", "id_", "body", "options"), REFUSED)
def test_a_refusal_leaves_the_draft_as_it_was(kind: str, id_: str | None, body: Any, options: dict[str, Any]) -> None:
    target = draft()
    with pytest.raises(ParqueDBError):
        do(kind, id_, body, on=target, **options)
    assert target.events == []
    assert target.current("a") == OLD


def test_every_event_raises_the_version_by_one() -> None:
    target = draft()
    for kind, body in (("update", {"$inc": {"n": 1}}), ("replace", {"n": 5}), ("delete", None), ("restore", None)):
        do(kind, body=body, on=target)
    assert [event.document["version"] for event in target.events if event.document] == [4, 5, 6, 7]


def test_a_conflict_in_a_batch_says_which_and_keeps_its_facts() -> None:
    parts = [Operation("create", "b", {}), Operation("update", "a", {"$inc": {"n": 1}}, {"expected_version": 7})]
    with pytest.raises(VersionConflictError) as caught:
        do("batch", None, [part.to_wire() for part in parts])
    assert (caught.value.expected, caught.value.actual, caught.value.context["batch_index"]) == (7, 3, 1)


MALFORMED = [
    ("find", None, None, InvalidInputError),
    ("create", "", {}, ValidationError),
    ("create", "b", "text", ValidationError),
    ("create", "b", None, ValidationError),
    ("create", "b", {"x": object()}, ValidationError),
    ("create", "b", {"x": "y" * 3000}, ValidationError),
    ("create", "b", {"a": {"b": {"c": {"d": {"e": {}}}}}}, ValidationError),
    ("create", "a\0b", {}, ValidationError),
    ("update", None, {"$inc": {"n": 1}}, ValidationError),
    ("update", "a", None, InvalidUpdateError),
    ("update", "a", {"$explode": {}}, InvalidUpdateError),
    ("create_many", None, {}, ValidationError),
    ("batch", None, {}, ValidationError),
    ("batch", None, [["nonsense"]], InvalidInputError),
    ("batch", None, [Operation("get", "a").to_wire()], InvalidInputError),
    ("batch", None, [Operation("batch", body=[]).to_wire()], InvalidInputError),
    ("batch", None, [7], InvalidInputError),
]


@pytest.mark.parametrize(("kind", "id_", "body", "error"), MALFORMED)
def test_what_makes_no_sense_is_refused_with_an_error_of_ours(
    kind: str, id_: str | None, body: Any, error: type[ParqueDBError]
) -> None:
    with pytest.raises(error):
        prepare(Operation(kind, id_, body), RULES).run(draft())


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ({"$set": {"text": "x" * 1995}}, "document"),
        ({"$set": {f"f{number}": None for number in range(230)}}, "document"),  # Small when encoded, large by estimate.
        ({"$set": {"a.b.c.d.e.f": 1}}, "path"),
        ({"$set": {"a": [[[[[1]]]]]}}, "levels"),
        ({"$inc": {"name": 1}}, "name"),
        ({"$set": {"$odd": 1}}, "odd"),
    ],
)
def test_an_update_whose_result_is_no_document_is_refused_and_changes_nothing(ops: Any, message: str) -> None:
    on = draft()
    with pytest.raises(ParqueDBError, match=message):
        do("update", body=ops, on=on)
    assert (on.events, on.current("a")) == ([], OLD)


@pytest.mark.parametrize("ops", [{"$inc": {"n": 1}}, {"$rename": {"n": "m"}}, {"$push": {"list": Decimal("1.50")}}])
def test_a_changed_document_is_encoded_once_for_log_and_answer(ops: Any) -> None:
    on = draft()
    document = do("update", body=ops, on=on)
    [event] = on.events
    assert isinstance(event, Event)
    assert event.encoded is not None
    assert decode(event.encoded) == document == event.document
