"""The probe refuses every store that breaks a promise, and says what would have gone wrong."""

import pytest

from parquedb.errors import ConfigurationError, NetworkError, ObjectNotFoundError, OutcomeUnknownError
from parquedb.storage.backend import ListPage, ObjectInfo
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backends.probe import probe


class IgnoresCreateCondition(MemoryBackend):
    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        return await self.write(key, data)


class RefusesButStores(MemoryBackend):
    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        try:
            return await super().create(key, data)
        finally:
            await self.write(key, data)


class ForgetsNewObjects(MemoryBackend):
    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        raise ObjectNotFoundError(key=key)


class ListsLate(MemoryBackend):
    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        page = await super().list(prefix, after=after, limit=limit)
        return ListPage(page.objects[:-1], page.more, page.server_s)


class ListsInReverse(MemoryBackend):
    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        page = await super().list(prefix, after=after, limit=limit)
        return ListPage(page.objects[::-1], page.more, page.server_s)


class IgnoresAfter(MemoryBackend):
    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        return await super().list(prefix, limit=limit)


class NeverSaysMore(MemoryBackend):
    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        page = await super().list(prefix, after=after, limit=limit)
        return ListPage(page.objects, False, page.server_s)


class IgnoresIfMatch(MemoryBackend):
    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        return await super().write(key, data)


class KeepsDamage(MemoryBackend):
    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        await self.write(key, b"cut")
        return False


class RefusesDamageButStoresIt(KeepsDamage):
    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        return not await super().verifies_uploads(key)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (IgnoresCreateCondition, r"ignores If-None-Match: .* acknowledged writes would be lost"),
        (RefusesButStores, "reading right after a create gave the bytes of a refused create"),
        (ForgetsNewObjects, "reading right after a create gave nothing"),
        (ListsLate, "a listing right after 5 creates showed 4 objects"),
        (ListsInReverse, "does not list keys in order"),
        (IgnoresAfter, "does not continue a listing after a given key"),
        (NeverSaysMore, "does not say that more follows"),
        (IgnoresIfMatch, "ignores If-Match"),
        (KeepsDamage, "ignores Content-MD5: .* a cut log entry"),
        (RefusesDamageButStoresIt, "ignores Content-MD5"),
    ],
)
async def test_a_broken_store_is_refused_and_left_clean(broken: type[MemoryBackend], reason: str) -> None:
    store = broken()
    with pytest.raises(ConfigurationError, match=f"this memory store cannot hold a database: .*{reason}") as caught:
        await probe(store)
    assert caught.value.setting == "url"
    assert (await MemoryBackend.list(store, "")).objects == ()


async def test_a_backend_that_claims_no_conditional_writes_need_not_have_them() -> None:
    class Honest(IgnoresIfMatch):
        conditional_writes = False

    await probe(Honest())


async def test_two_probes_at_a_time_do_not_meet() -> None:
    one, two = MemoryBackend("probed"), MemoryBackend("probed")
    await probe(one)
    await one.create("ns/log/1", b"kept")
    await probe(two)
    assert [info.key for info in (await two.list("")).objects] == ["ns/log/1"]


@pytest.mark.parametrize("error", [NetworkError, OutcomeUnknownError])
async def test_a_store_that_cannot_be_asked_is_not_judged(error: type[Exception]) -> None:
    class Unreachable(MemoryBackend):
        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
            raise error

        async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
            raise NetworkError

    with pytest.raises(error):
        await probe(Unreachable())
