"""A namespace that is removed, and perhaps restored, under a living owner: nothing may be written beyond the gap."""

import pytest

from parquedb.actors.state.lease import LOOK_BACK_S
from parquedb.clock import SystemClock
from parquedb.errors import ConflictError, CorruptionError
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.backups import contents, put_back, take
from tests.support.engines import NAMESPACE, opened, outcome, run
from tests.support.vault import verified

PAUSE_S = 2 * LOOK_BACK_S


class ForwardClock(SystemClock):
    """The system's clock, which can be put forward."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead_s = 0.0

    def boot_s(self) -> float:
        return super().boot_s() + self._ahead_s

    def advance(self, delta_s: float) -> None:
        self._ahead_s += delta_s


async def remove(store: MemoryBackend) -> None:
    """Do what `rm -r` does."""
    for key in await contents(store, f"{NAMESPACE}/"):
        await store.delete(key)


@pytest.mark.parametrize("first", ["create", "get"])
async def test_an_owner_from_before_a_restore_writes_and_answers_nothing_there(first: str) -> None:
    store, place, clock = MemoryBackend(), MemoryBackend(), ForwardClock()
    async with opened(store, clock=clock) as owner:
        await run(owner, "create", "kept", {"n": 1})
        await take(store, place)
        await run(owner, "create", "since", {"n": 2})
        await remove(store)
        await put_back(place, store)
        restored = await contents(store)
        clock.advance(PAUSE_S)
        refused = await outcome(owner, first, "late", {"n": 3} if first == "create" else None)
        assert isinstance(refused.error, CorruptionError)
        assert "removed or replaced by hand" in str(refused.error)
        assert owner.state == "failed"
        assert await contents(store) == restored
    assert (await verified(store)).ok
    async with opened(store) as successor:
        assert (await run(successor, "get", "kept"))["n"] == 1
        assert await run(successor, "get", "since") is None
        await run(successor, "create", "late", {"n": 3})
    assert (await verified(store)).ok


async def test_an_owner_whose_namespace_was_removed_does_not_go_on_numbering_in_the_void() -> None:
    store, clock = MemoryBackend(), ForwardClock()
    async with opened(store, clock=clock) as owner:
        await run(owner, "create", "a", {"n": 1})
        await remove(store)
        clock.advance(PAUSE_S)
        refused = await outcome(owner, "create", "b", {"n": 2})
        assert isinstance(refused.error, CorruptionError)
        assert await contents(store) == {}


async def test_it_does_not_say_goodbye_there_either() -> None:
    store, place, clock = MemoryBackend(), MemoryBackend(), ForwardClock()
    async with opened(store, clock=clock) as owner:
        await run(owner, "create", "kept", {"n": 1})
        await take(store, place)
        await run(owner, "create", "since", {"n": 2})
        await remove(store)
        await put_back(place, store)
        restored = await contents(store)
        clock.advance(PAUSE_S)
        await owner.close()
        assert await contents(store) == restored


async def test_an_entry_of_another_life_at_the_same_position_is_not_taken_for_its_own() -> None:
    store, place, clock = MemoryBackend(), MemoryBackend(), ForwardClock()
    async with opened(store, clock=clock) as owner:
        await run(owner, "create", "kept", {"n": 1})
        await take(store, place)
        for number in range(3):
            await run(owner, "create", f"since-{number}", {"n": number})
        await remove(store)
        await put_back(place, store)
        async with opened(store) as other:  # `open`, a write and `close`: as many entries as were lost.
            await run(other, "create", "anew", {"n": 1})
        clock.advance(PAUSE_S)
        assert isinstance((await outcome(owner, "create", "late", {"n": 3})).error, CorruptionError)
    assert (await verified(store)).ok


async def test_a_restore_is_refused_by_what_an_owner_at_work_writes_meanwhile() -> None:
    store, place, clock = MemoryBackend(), MemoryBackend(), ForwardClock()
    async with opened(store, clock=clock) as owner:
        await run(owner, "create", "kept", {"n": 1})
        await take(store, place)
        await run(owner, "create", "since", {"n": 2})
        await remove(store)
        await run(owner, "create", "at once", {"n": 3})
        with pytest.raises(ConflictError, match="a restore overwrites nothing"):
            await put_back(place, store)


async def test_a_pause_alone_changes_nothing() -> None:
    store, clock = MemoryBackend(), ForwardClock()
    async with opened(store, clock=clock) as owner:
        for number in range(3):
            clock.advance(PAUSE_S)
            await run(owner, "create", f"d{number}", {"n": number})
            clock.advance(PAUSE_S)
            assert (await run(owner, "get", f"d{number}"))["n"] == number
    assert (await verified(store)).ok
