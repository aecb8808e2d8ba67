"""What else goes along: answered requests, schemas, soft deletes, keys of gateways; and what does not."""

import pytest

from parquedb.actors.requests import schema_arguments
from parquedb.actors.requests.operations import SessionRequest
from parquedb.errors import ValidationError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log.manifest import object_key
from tests.support.backups import archive, contents, put_back, take
from tests.support.engines import NAMESPACE, opened, outcome, run
from tests.support.vault import verified

SESSION = b"s" * 16


@pytest.mark.parametrize("folded", [False, True], ids=["in the log", "folded"])
@pytest.mark.parametrize("kind", ["caller's own id", "session"])
async def test_a_request_that_was_answered_before_the_backup_is_not_applied_again(kind: str, folded: bool) -> None:
    request = "once" if kind == "caller's own id" else SessionRequest(SESSION, 1, 1, 0)
    source, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    async with opened(source) as owner:
        await run(owner, "create", "a", {"n": 0})
        first = await outcome(owner, "update", "a", {"$inc": {"n": 1}}, request=request)
        if folded:
            await owner.flush()
        await take(source, place)
    await put_back(place, target)
    async with opened(target) as owner:
        again = await outcome(owner, "update", "a", {"$inc": {"n": 1}}, request=request)
        assert (again.result(), again.seq) == (first.result(), first.seq)
        assert (await run(owner, "get", "a"))["n"] == 1


async def test_schemas_bind_and_soft_deletes_can_be_taken_back() -> None:
    source, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    async with opened(source) as owner:
        [registered] = await owner.execute([schema_arguments.register(NAMESPACE, {"n": "int!"})])
        registered.result()
        await run(owner, "create", "a", {"n": 1})
        await run(owner, "delete", "a")
        await owner.flush()
    await take(source, place)
    await put_back(place, target)
    async with opened(target) as owner:
        with pytest.raises(ValidationError):
            await run(owner, "create", "b", {"n": "no number"})
        assert await run(owner, "get", "a") is None
        assert (await run(owner, "restore", "a"))["version"] == 3
        assert (await run(owner, "get", "a"))["n"] == 1


async def test_files_of_a_load_that_has_not_landed_stay_behind() -> None:
    source, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    async with opened(source) as owner:
        await run(owner, "create", "a", {"n": 1})
        await source.create(f"{NAMESPACE}/{object_key('data', owner._data.epoch, '0' * 32, '.parquet')}", b"under way")
        await take(source, place)
    await put_back(place, target)
    assert not await contents(target, f"{NAMESPACE}/data/")
    assert (await verified(target)).ok


async def test_namespaces_of_odd_names_go_along(monkeypatch: pytest.MonkeyPatch) -> None:
    source, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    names = ["$api-keys", "a..b", "Ünïcode", ".hidden", "%2e%2e"]
    for name in names:
        async with opened(source, namespace=name) as owner:
            await run(owner, "create", "a", {"name": name})
    await take(source, place, namespaces=names)
    await put_back(place, target)
    for name in names:
        async with opened(target, namespace=name) as owner:
            assert (await run(owner, "get", "a"))["name"] == name
    [point] = await archive(place).points()
    assert (await archive(place).catalogue(point)).names == tuple(sorted(names))


async def test_the_original_and_its_copy_live_beside_each_other_and_neither_fences_the_other() -> None:
    source, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    async with opened(source) as original:
        await run(original, "create", "a", {"n": 1})
        await take(source, place)  # Its owner lives, and goes on.
        await put_back(place, target)
        async with opened(target, read_lease_s=0.01) as copy:
            assert copy._data.epoch > original._data.epoch, "the last owner said no goodbye: its lease was waited out"
            for number in range(5):
                await run(original, "update", "a", {"$set": {"n": f"original {number}"}})
                await run(copy, "update", "a", {"$set": {"n": f"copy {number}"}})
            assert (await run(original, "get", "a"))["n"] == "original 4"
            assert (await run(copy, "get", "a"))["n"] == "copy 4"
    assert (await verified(source)).ok
    assert (await verified(target)).ok
