"""A replica that is read while the circuit of reads is open: what an owner can answer by it, and what it must not."""

import random

import pytest

from parquedb.clock import SystemClock
from parquedb.errors import CircuitOpenError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import StorageSettings
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, run


async def copy(store: MemoryBackend) -> MemoryBackend:
    replica = MemoryBackend()
    for info in (await store.list("")).objects:
        await replica.create(info.key, await store.read(info.key))
    return replica


async def test_files_are_read_from_the_replica_but_nothing_is_answered_that_might_be_stale() -> None:
    store = MemoryBackend()
    async with opened(store) as owner:
        await run(owner, "create", "a", {"n": 1})
        await owner.flush()
    storage = wrap_backend(
        store,
        StorageSettings(),
        clock=SystemClock(),
        hooks=HookRegistry(),
        rng=random.Random(1),
        read_fallback=await copy(store),
    )
    # While this owner is sure that nobody else has written, files that never change are as good from anywhere.
    async with opened(storage, read_lease_s=30.0) as owner:
        storage.read_circuit.trip()
        assert (await run(owner, "get", "a"))["n"] == 1
        assert storage.fallback_reads >= 1
        await run(owner, "create", "b", {"n": 2})
        assert (await run(owner, "get", "b"))["n"] == 2
        storage.read_circuit.reset()
    # An owner that is not must ask the store itself: the replica may not know of a rival yet.
    async with opened(storage, read_lease_s=0.0) as owner:
        storage.read_circuit.trip()
        with pytest.raises(CircuitOpenError):
            await run(owner, "get", "a")
        storage.read_circuit.reset()
        assert (await run(owner, "get", "a"))["n"] == 1
