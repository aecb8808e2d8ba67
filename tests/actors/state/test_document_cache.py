"""Documents kept as they travel: bounded, and never older than what is committed."""

from typing import Any

import pytest

from parquedb.actors.requests.operations import GETS, Operation
from parquedb.actors.requests.packing import decode_operations, decode_outcomes, encode_operations, encode_outcomes
from parquedb.actors.state.document_cache import DocumentCache
from parquedb.errors import EntityNotFoundError
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, run


async def got(owner: Any, *ids: str) -> list[Any]:
    """Get documents as a client does, joined in one operation."""
    arrived = decode_operations(encode_operations([Operation("get", id_, timeout_s=10.0) for id_ in ids]))
    assert [one.kind for one in arrived] == [GETS]
    reply = encode_outcomes(arrived, await owner.execute(arrived), 0.0)
    return [outcome.result() for outcome in decode_outcomes(reply)[0]]


def test_the_least_recently_used_documents_leave_first() -> None:
    cache = DocumentCache(3 * 210)
    for name in "abc":
        cache.put(name, b"0123456789")
    assert cache.get("a") is not None
    cache.put("d", b"0123456789")
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
    cache.put("e", b"x" * 1000)
    assert cache.get("e") is None
    cache.forget("a")
    cache.put("c", b"01234567890123456789")
    assert (len(cache), cache.bytes) == (2, 210 + 220)


@pytest.mark.parametrize("cached", [0, 1 << 20])
@pytest.mark.parametrize("flushed", [False, True])
async def test_a_get_sees_every_change_at_once(cached: int, flushed: bool) -> None:
    async with opened(MemoryBackend(), document_cache_bytes_max=cached) as owner:
        for name in "abc":
            await run(owner, "create", name, {"n": 1})
        if flushed:
            await owner.flush()
        assert [one["n"] for one in await got(owner, "a", "b", "c")] == [1, 1, 1]
        await run(owner, "update", "a", {"$set": {"n": 2}})
        await run(owner, "delete", "b")
        await run(owner, "delete", "c", hard=True)
        found = await got(owner, "a", "b", "c", "nobody")
        assert [one and one["n"] for one in found] == [2, None, None, None]
        await run(owner, "restore", "b")
        await run(owner, "create", "c", {"n": 5})
        assert [one and one["version"] for one in await got(owner, "a", "b", "c")] == [2, 3, 1]
        if flushed:
            await owner.flush()
            assert [one and one["n"] for one in await got(owner, "c", "a")] == [5, 2]


async def test_a_bad_id_refuses_the_gets_it_came_with_and_says_why() -> None:
    async with opened(MemoryBackend()) as owner:
        [outcome] = await owner.execute([Operation(GETS, None, ["a", ""])])
        assert "id" in str(outcome.error)


async def test_writes_decide_on_what_is_committed_though_an_older_state_was_answered() -> None:
    async with opened(MemoryBackend()) as owner:
        for name in "ab":
            await run(owner, "create", name, {"n": 1})
        await owner.flush()
        await got(owner, "a", "b")
        assert (await run(owner, "replace", "a", {"n": 2}))["version"] == 2
        assert await run(owner, "delete", "b", hard=True) == 1
        await owner.flush()
        assert (await run(owner, "update", "a", {"$inc": {"n": 1}}, expected_version=2))["n"] == 3
        with pytest.raises(EntityNotFoundError):
            await run(owner, "update", "b", {"$inc": {"n": 1}})
        assert await run(owner, "count") == 1
