"""Which permission each operation needs, and that what nobody has thought of is denied."""

from typing import Any

import pytest

from parquedb.access.permissions import ALL, OPERATIONS, READ, WRITE, Permissions
from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import BULK_TERMS, INSERT_ARROW, KINDS, READS, WRITES, Operation
from parquedb.actors.requests.packing import decode_operations, encode_operations
from parquedb.actors.requests.permits import PERMISSIONS_OF_KINDS, Permits
from parquedb.errors import PermissionDeniedError


def permits(*entries: str) -> Permits:
    return Permits([Permissions(entries)], "posts")


def denied(operation: Operation, *entries: str) -> str | None:
    """What is missing; both as made here and as it arrives at an owner."""
    [arrived] = decode_operations(encode_operations([operation]))
    errors = [permits(*entries).denial(each) for each in (operation, arrived)]
    missing = {None if error is None else error.context["operation"] for error in errors}
    assert len(missing) == 1
    return missing.pop()


def operation(name: str, **given: Any) -> Operation:
    return arguments.parse("posts", {"op": name, **given})


def test_somebody_has_decided_about_every_kind_of_operation() -> None:
    assert PERMISSIONS_OF_KINDS.keys() == KINDS
    assert set(PERMISSIONS_OF_KINDS.values()) <= OPERATIONS


def test_a_kind_nobody_has_decided_about_is_denied_to_those_who_may_do_everything() -> None:
    assert permits(ALL).denial(Operation("teleport")) is not None


@pytest.mark.parametrize("kind", sorted(KINDS - {"batch"}))
def test_reading_permissions_allow_reads_and_no_writes(kind: str) -> None:
    reads, writes = permits("read:posts").denial(Operation(kind)), permits("write:posts").denial(Operation(kind))
    assert permits(ALL).denial(Operation(kind)) is None
    assert permits("*:other").denial(Operation(kind)) is not None
    if kind in {"register", BULK_TERMS}:
        assert reads is not None
    else:
        assert (reads is None, writes is None) == (kind in READS, kind in WRITES)


def test_a_denial_names_operation_and_namespace() -> None:
    error = permits("read:*").denial(operation("create", data={}))
    assert isinstance(error, PermissionDeniedError)
    assert str(error) == "create on 'posts' is not allowed"
    assert error.context == {"operation": "create", "namespace": "posts"}


def test_an_update_that_may_insert_needs_the_permission_to_create() -> None:
    ops = {"$set": {"n": 1}}
    for name, which in (("update", {"id": "a"}), ("update_many", {"filter": {"n": 1}})):
        assert denied(operation(name, **which, ops=ops), f"{name}:posts") is None
        inserting = operation(name, **which, ops=ops, upsert=True)
        assert denied(inserting, f"{name}:posts") == "create"
        assert denied(inserting, f"{name}:posts", "create:posts") is None
    assert denied(operation("upsert", filter={"n": 1}, ops=ops), "upsert:posts") is None


def test_a_batch_hides_nothing() -> None:
    create, delete = {"op": "create", "data": {}}, {"op": "delete", "id": "a"}
    upsert = {"op": "update", "id": "a", "ops": {"$set": {"n": 1}}, "upsert": True}
    assert denied(operation("batch", operations=[create, delete]), "batch:posts", "create:posts") == "delete"
    assert denied(operation("batch", operations=[create]), "create:posts") == "batch"
    assert denied(operation("batch", operations=[upsert]), "batch:posts", "update:posts") == "create"
    assert denied(operation("batch", operations=[create, delete, upsert]), "write:posts") is None


@pytest.mark.parametrize(
    "part",
    [
        Operation("register", body={}).to_wire(),
        Operation("update_many", options={"filter": {}}).to_wire(),
        Operation("batch", body=[]).to_wire(),
        ["create"],
        "createcre",
        {"create": 1},
        ["update", "a", {}, ["upsert"], None, None, None, 0.0, 0],
        [["create"], None, None, None, None, None, None, 0.0, 0],
    ],
    ids=str,
)
def test_what_a_batch_cannot_hold_is_denied_to_everybody(part: Any) -> None:
    assert permits(ALL).denial(Operation("batch", body=[part])) is not None
    assert permits(ALL).denial(Operation("batch", body=part)) is not None


def test_a_load_that_stands_for_creates_needs_their_permission() -> None:
    load = Operation(INSERT_ARROW, body={}, options={"method": "create_many"})
    assert denied(load, "insert_arrow:posts") == "create_many"
    assert denied(load, "create_many:posts") is None
    assert denied(Operation(INSERT_ARROW, body={}), "create_many:posts") == INSERT_ARROW
    for either in ("create_many", "insert_arrow"):
        assert denied(Operation(BULK_TERMS, body=[]), f"{either}:posts") is None


def test_every_set_of_permissions_has_to_allow_it() -> None:
    both = Permits([Permissions(["read:*"]), Permissions(["get:posts", "write:posts"])], "posts")
    assert [both.denial(Operation(kind)) is None for kind in ("get", "find", "create")] == [True, False, False]


def test_methods_of_the_actor_need_their_permission_and_activating_any() -> None:
    def allowed(method: str, *entries: str) -> bool:
        try:
            permits(*entries).check_method(method)
        except PermissionDeniedError:
            return False
        return True

    assert allowed("activate", "get:posts")
    assert not allowed("activate", "*:other")
    assert allowed("stats", "read:posts")
    assert allowed("hook_stats", "metrics:posts")
    assert allowed("survey", "metrics:posts")
    for method in ("flush", "compact", "metrics", "hook_stats", "survey", "anything"):
        assert not allowed(method, "read:posts", "write:posts")


def test_reading_and_writing_cover_what_the_client_offers() -> None:
    assert set(arguments.BUILDERS) - {"register"} <= READ | WRITE
