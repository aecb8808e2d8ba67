"""The gets of one call answer no more bytes than one read may hold; each alone is answered whatever its size."""

import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import GETS, Operation
from parquedb.errors import BackpressureError
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, run

IDS = ["a", "b", "c", "d"]
MEMORY_MAX = 64 * 1024
TEXT = "x" * 30_000


async def filled(owner: NamespaceEngine, *, flush: bool) -> None:
    for id_ in IDS:
        await run(owner, "create", id_, {"text": TEXT})
    if flush:
        await owner.flush()


@pytest.mark.parametrize("flush", [False, True])
async def test_single_gets_of_a_call_are_answered_as_far_as_the_bound_goes(flush: bool) -> None:
    async with opened(MemoryBackend(), query_memory_max=MEMORY_MAX) as owner:
        await filled(owner, flush=flush)
        outcomes = await owner.execute([Operation("get", id_) for id_ in IDS])
        answered = [each for each in outcomes if each.error is None]
        assert 1 <= len(answered) <= 2
        assert all(each.value["text"] == TEXT for each in answered)
        refused = [each.error for each in outcomes if each.error is not None]
        assert all(isinstance(error, BackpressureError) and error.retry_after is None for error in refused)
        for id_ in IDS:
            assert (await run(owner, "get", id_))["text"] == TEXT


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("ids", [IDS, ["a"] * 4])
async def test_joined_gets_are_refused_together_also_for_one_document_many_times(flush: bool, ids: list[str]) -> None:
    async with opened(MemoryBackend(), query_memory_max=MEMORY_MAX) as owner:
        await filled(owner, flush=flush)
        [few] = await owner.execute([Operation(GETS, None, ids[:2])])
        assert len(few.value) == 2
        for _ in range(2):  # The second time they are in the cache.
            [refused] = await owner.execute([Operation(GETS, None, ids)])
            assert isinstance(refused.error, BackpressureError)
