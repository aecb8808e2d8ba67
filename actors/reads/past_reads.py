"""Reads that look beyond the present: history, changes, as_of, and snapshots for the caller to read by itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from parquedb.actors.reads.history import History
from parquedb.actors.reads.past import Past
from parquedb.actors.reads.snapshots import Pins, describe, new_token, read_pin
from parquedb.actors.reads.timeline import Timeline
from parquedb.actors.requests.operations import CHANGES, Operation
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.clock import Clock
from parquedb.errors import InternalError
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.history.source import HistorySource
from parquedb.storage.query.scan_plan import ScanSnapshot

Document = dict[str, Any]
Run = Callable[[Callable[[], Any]], Awaitable[Any]]
Present = Callable[[int | None], Awaitable[ScanSnapshot]]
"""Takes what a query sees now; with a seq, without documents in memory that changed after it."""

_US: Final = 1_000_000


class PastReader:
    """The past of one namespace, put together.

    Args:
        state: Its committed state.
        storage: Where it lives.
        settings: Bounds.
        lease: Confirmed before each answer.
        settled: Set while no commit's fate is open.
        clock: Log time, leases of pins.
        rng: Names of pins.
        run: Runs CPU work off the event loop.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        state: NamespaceState,
        storage: StorageBackend,
        settings: EngineSettings,
        *,
        lease: Lease,
        settled: asyncio.Event,
        clock: Clock,
        rng: random.Random,
        run: Run,
    ) -> None:
        self._state = state
        self._lease = lease
        self._clock = clock
        self._rng = rng
        self._run = run
        source = HistorySource(storage, state.prefix, state.files)
        self._past = Past(state.namespace, source, clock=clock, settled=settled, memory_max=settings.query_memory_max)
        self.history = History(state, source, lease, clock)
        self.pins = Pins(clock, settings.snapshot_grace_s)

    async def answer(self, operation: Operation, present: Present) -> Any:
        """Return the value of an operation of `PAST`.

        Raises:
            ParqueDBError: it is refused; see the methods of `History` and `Pins`.
        """
        if operation.kind == "history":
            return await self.history.of_document(operation.id or "", operation.options)
        if operation.kind == CHANGES:
            return await self.history.changes(operation.options)
        if operation.kind == "snapshot":
            return await self._snapshot(present)
        await self._confirm()
        if operation.kind == "pin":
            token, keys = read_pin(operation.body)
            self.pins.hold(token, keys)
            return self.pins.lease_s
        if operation.kind == "unpin":
            self.pins.release(str(operation.body))
            return None
        raise InternalError(f"{operation.kind!r} does not look at the past")

    async def view(self, as_of: Any, present: Present) -> tuple[ScanSnapshot, int]:
        """Return what a query as of a seq or a time sees, and that seq.

        Raises:
            ValidationError: that lies in the future, or is neither.
            SnapshotNotFoundError: it is not kept any more.
        """
        seq = await self._seq(as_of)
        snapshot = await present(seq)
        # The snapshot was just taken and nothing has been awaited since: both are of one moment.
        return await self._past.snapshot(seq, snapshot, Timeline.of(self._state)), seq

    async def document(
        self, id_: str, as_of: Any, current: Callable[[set[str]], Awaitable[Mapping[str, Document | None]]]
    ) -> tuple[Document | None, int]:
        """Return what a document was as of a seq or a time, and that seq; raises like `view`."""
        seq = await self._seq(as_of)
        found = (await current({id_}))[id_]
        line = Timeline.of(self._state)  # Of the same moment as `found`.
        return await self._past.document(id_, seq, found, line, self._state.files), seq

    def stop(self) -> None:
        """Let those who wait for changes go."""
        self.history.stop()

    async def _seq(self, as_of: Any) -> int:
        await self._confirm()
        return await self._past.seq_of(as_of, lambda: Timeline.of(self._state))

    async def _confirm(self) -> None:
        if not self._lease.holds():
            await self._lease.confirm()

    async def _snapshot(self, present: Present) -> dict[str, Any]:
        snapshot = await present(None)
        state = self._state
        seq, registry = state.next_seq - 1, state.registry
        token = new_token(self._rng.randbytes(16))
        self.pins.hold(token, (file.key for file in snapshot.files))
        rows = state.rows_in_memory()
        described = await self._run(partial(describe, snapshot, rows, registry))
        time_us = int(self._clock.now().timestamp() * _US)
        return {"token": token, "lease_s": self.pins.lease_s, "seq": seq, "time_us": time_us, **described}
