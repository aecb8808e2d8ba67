"""Every error through a real gateway: the same class, code, context and causes as over Ray."""

import asyncio
from typing import Any

import pytest

import parquedb
from parquedb.errors import (
    ErrorCode,
    OutcomeUnknownError,
    ParqueDBError,
    RpcError,
    StorageReadError,
)
from parquedb.errors.base import Parts, rebuild
from parquedb.errors.convert import _BY_CODE, class_of
from tests.support.gateway_server import GatewayServer

CONTEXT: dict[str, Any] = {"id": "a/b", "expected": 3, "actual": None, "retry_after": 2.5, "nested": {"$gt": [1, "x"]}}
CLASSES = sorted({*_BY_CODE.values(), *map(class_of, ErrorCode)}, key=lambda cls: cls.__name__)
UNFORESEEN = {ErrorCode.INTERNAL, ErrorCode.UNKNOWN, ErrorCode.RPC_ERROR}


def made(cls: type[ParqueDBError], code: ErrorCode | None = None) -> ParqueDBError:
    cause = StorageReadError("the disk", key="k", cause=OSError("input/output error"))
    return rebuild(Parts(cls, "what happened", code or cls.default_code, CONTEXT, {}), cause)


def assert_same(found: ParqueDBError, given: ParqueDBError) -> None:
    assert type(found) is type(given)
    assert found.code is given.code
    assert found.message == given.message
    assert dict(found.context) == CONTEXT
    assert found.retry_after == 2.5
    assert isinstance(found.cause, StorageReadError)
    assert "input/output error" in str(found.cause.cause)


def test_there_are_many_of_them() -> None:
    assert len(CLASSES) > 40


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_comes_back_as_itself(cls: type[ParqueDBError], posts: Any, server: GatewayServer) -> None:
    given = made(cls)
    server.local.refuse = [given]
    with pytest.raises(ParqueDBError) as caught:
        posts.get("a")
    assert_same(caught.value, given)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_code_comes_back_as_itself(code: ErrorCode, posts: Any, server: GatewayServer) -> None:
    given = made(class_of(code), code)
    server.local.refuse = [given]
    with pytest.raises(ParqueDBError) as caught:
        posts.get("a")
    assert_same(caught.value, given)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_refused_write_is_refused_unless_nobody_can_say_so(
    code: ErrorCode, posts: Any, server: GatewayServer
) -> None:
    given = made(class_of(code), code)
    server.local.refuse = [given]
    with pytest.raises(ParqueDBError) as caught:
        posts.create({})
    if code in UNFORESEEN:
        assert isinstance(caught.value, OutcomeUnknownError)
        assert caught.value.request_id
        assert_same(caught.value.cause, given)
    else:
        assert_same(caught.value, given)


def test_what_nobody_foresaw_tells_nothing_of_itself(posts: Any, server: GatewayServer) -> None:
    server.local.refuse = [RuntimeError("password=hunter2hunter2")]
    with pytest.raises(ParqueDBError) as caught:
        posts.get("a")
    assert caught.value.code is ErrorCode.INTERNAL
    assert "hunter2" not in str(caught.value.to_json())


def test_errors_of_many_documents_come_back_one_by_one(posts: Any) -> None:
    posts.create({}, id="a")
    first, second, third = posts.create_many([{"$id": "b"}, {"$id": "a"}, {"name": 1}], ordered=False)
    assert first == f"{posts.namespace}/b"
    assert isinstance(second, parquedb.errors.AlreadyExistsError)
    assert isinstance(third, parquedb.errors.ValidationError)


def test_a_batch_is_all_or_nothing(posts: Any) -> None:
    posts.create({}, id="a")
    with pytest.raises(parquedb.errors.AlreadyExistsError):
        posts.batch([{"op": "create", "data": {}, "id": "b"}, {"op": "create", "data": {}, "id": "a"}])
    assert posts.count() == 1
    values = posts.batch([{"op": "create", "data": {"n": 1}, "id": "b"}, {"op": "delete", "id": "a"}])
    assert (values[0]["n"], values[1]) == (1, 1)


def test_one_operation_that_a_gateway_cannot_read_spoils_nothing_for_others(server: GatewayServer) -> None:
    deep: Any = 1
    for _ in range(90):
        deep = {"$x": deep}

    async def work() -> list[Any]:
        async with await parquedb.connect_async(server.url) as db:
            documents = [{"n": 1}, {"deep": deep}, {"n": 2}]
            creates = (db["spoilt"].create(document) for document in documents)
            return await asyncio.gather(*creates, return_exceptions=True)

    first, spoilt, second = asyncio.run(work())
    assert (first["n"], second["n"]) == (1, 2)
    assert isinstance(spoilt, parquedb.errors.InvalidInputError)
    assert "levels of nesting" in str(spoilt)


def test_a_path_that_is_no_gateway_says_so(server: GatewayServer) -> None:
    with parquedb.connect(f"{server.url}/elsewhere") as db, pytest.raises(ParqueDBError) as caught:
        db["posts"].get("a")
    assert caught.value.code in {ErrorCode.NOT_FOUND, ErrorCode.RPC_INVALID_RESPONSE}
    assert isinstance(caught.value, RpcError | parquedb.errors.NotFoundError)
