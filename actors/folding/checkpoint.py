"""Folding the log: into a manifest alone (a checkpoint), or into Parquet as well (a flush).

A checkpoint joins the recent log entries into one segment, so that opening stays three round trips however long the
history; a flush turns the memtable into a data file and drops the segments. Either writes its objects first, then its
manifest, and becomes real by a checkpoint entry in the log (rule 5). One runs at a time.
"""

import asyncio
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar

from pyroaring import BitMap

from parquedb.actors.folding.history_fold import HistoryFold
from parquedb.actors.reporting import journal
from parquedb.actors.state.frames import Checkpoint, Frozen
from parquedb.actors.state.memtable import Memtable
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.writes.commit_group import CheckpointRequest
from parquedb.actors.writes.writer import Writer
from parquedb.clock import Clock
from parquedb.errors import FencedError, ParqueDBError, StorageFailedError
from parquedb.observability.contexts import FlushContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.propagation import current_traceparent
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.compaction.moved import LEFT_OUT, Moved
from parquedb.storage.files import data_file, deletions
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import Built
from parquedb.storage.files.data_files import Location
from parquedb.storage.history.source import HistorySource
from parquedb.storage.log.commit import Committer
from parquedb.storage.log.entry import Kind
from parquedb.storage.log.manifest import (
    Manifest,
    Segment,
    checksum,
    encode_manifest,
    manifest_key,
    object_key,
)

T = TypeVar("T")
Run = Callable[[Callable[[], T]], Awaitable[T]]

_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 10.0
_TAILS_MAX: Final = 64
"""Segments in a manifest; more of them make opening slow, so the next checkpoint becomes a flush."""


@dataclass(frozen=True, slots=True)
class Swap:
    """Files that merged ones shall replace, and who waits for it."""

    moved: Moved
    built: Sequence[Built]
    landed: "asyncio.Future[None]"


class Checkpointer:
    """Runs checkpoints and flushes of one namespace when they are due or asked for.

    Args:
        state: Frozen here, changed by what landed.
        writer: Commits the checkpoint entries.
        storage: Where the objects go.
        settings: When a checkpoint or flush is due.
        clock: Age of the oldest unflushed write.
        rng: Names of objects.
        hooks: Told about flushes.
        run: Runs CPU work off the event loop.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        state: NamespaceState,
        writer: Writer,
        storage: StorageBackend,
        settings: EngineSettings,
        *,
        clock: Clock,
        rng: random.Random,
        hooks: HookRegistry,
        run: Run[Any],
    ) -> None:
        self._state = state
        self._writer = writer
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._hooks = hooks
        self._run = run
        self._committer = Committer(storage, clock, rng)
        self._history = HistoryFold(
            state, HistorySource(storage, state.prefix, state.files), name=self._name, create=self._create, run=run
        )
        self._due = asyncio.Event()
        self._asked: list[asyncio.Future[None]] = []
        self._served: list[asyncio.Future[None]] = []
        self._asked_by: str | None = None
        self._swap: Swap | None = None
        self._dirty_since_s: float | None = None
        self.checkpoints = 0
        self.flushes = 0
        self.last_error: ParqueDBError | None = None

    @property
    def unflushed_s(self) -> float:
        """Age of the oldest write that no flush has taken up yet, in seconds; 0 when there is none."""
        since_s = self._dirty_since_s  # Read once: another thread may ask.
        return 0.0 if since_s is None else self._clock.boot_s() - since_s

    def progressed(self) -> None:
        """Look whether something is due; called after every landed entry."""
        if self._dirty_since_s is None and self._dirty():
            self._dirty_since_s = self._clock.boot_s()
        if self._reason() is not None:
            self._due.set()

    async def flush(self) -> None:
        """Turn everything committed so far into Parquet.

        Raises:
            ParqueDBError: it failed; the flush is tried again in the background, the documents stay in the log.
        """
        if not self._dirty() and self._state.frozen is None:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(done)
        self._asked_by = current_traceparent()
        self._due.set()
        await done

    async def swap(self, moved: Moved, built: Sequence[Built]) -> None:
        """Put merged files in the place of their sources; one at a time.

        Args:
            moved: Where the rows went. Rows it leaves out were dead, or superseded in the log, before this call.
            built: The new files, stored already.

        Raises:
            ParqueDBError: the engine is over; whether the swap landed is for the next owner to see.
        """
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._swap = Swap(moved, built, landed)
        self._due.set()
        await landed

    async def run(self) -> None:
        """Work until cancelled; a failure is logged and tried again with backoff."""
        delay_s = _RETRY_FIRST_S
        frame: Frozen | None = None
        while True:
            if frame is None:
                reason = self._reason()
                if reason is None:
                    await self._wait()
                    continue
                flush = reason not in {"log", "swap"}
                if flush:
                    self._served, self._asked = self._asked, []
                frame = self._state.freeze(flush=flush)
                if flush:
                    self._dirty_since_s = None
            try:
                await self._fold(frame, reason or "log")
            except (FencedError, StorageFailedError) as error:
                self.stop(error)
                raise
            except ParqueDBError as error:
                # The frame stays: what it froze must reach a manifest before anything newer does.
                self.last_error = error
                self._serve(error)
                journal.checkpoint_failed(self._state.namespace, error)
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, _RETRY_MAX_S)
                continue
            frame, delay_s, self.last_error = None, _RETRY_FIRST_S, None
            if not self._dirty():
                self._dirty_since_s = None
            self._serve(None)

    def stop(self, error: ParqueDBError) -> None:
        """Tell whoever waits for a flush that none will come."""
        self._served, self._asked = self._served + self._asked, []
        self._serve(error)
        if self._swap is not None and not self._swap.landed.done():
            self._swap.landed.set_exception(error)

    def _serve(self, error: ParqueDBError | None) -> None:
        """Answer those who asked for the flush under way."""
        served, self._served = self._served, []
        _settle(served, error)

    async def _wait(self) -> None:
        """Return when something may be due: a landed entry said so, or the oldest write has come of age."""
        self._due.clear()
        timeout_s = None
        if self._dirty_since_s is not None:
            # At least a moment, or rounding could make this loop turn without time passing.
            timeout_s = max(0.001, self._dirty_since_s + self._settings.flush_interval_s - self._clock.boot_s())
        try:
            async with asyncio.timeout(timeout_s):
                await self._due.wait()
        except TimeoutError:
            return

    def _reason(self) -> str | None:
        """Why a flush is due (`request`, `rows`, `bytes`, `age`, `segments`); `swap` or `log` for a mere checkpoint."""
        state, settings = self._state, self._settings
        if self._asked and not self._dirty():
            asked, self._asked = self._asked, []
            _settle(asked, None)
        since_s = self._dirty_since_s
        aged = since_s is not None and self._clock.boot_s() - since_s >= settings.flush_interval_s
        folded = state.base.through if state.base is not None else 0
        long = state.tail - folded >= settings.checkpoint_entries_max
        due = {
            "swap": self._swap is not None,
            "request": bool(self._asked),
            "rows": len(state.active) >= settings.flush_rows,
            "bytes": state.active.bytes >= settings.flush_bytes,
            "age": aged and self._dirty(),
            "segments": len(state.tails) >= _TAILS_MAX and bool(len(state.active)),
            "log": long or state.recent_bytes >= settings.checkpoint_bytes_max,
        }
        return next((reason for reason, is_due in due.items() if is_due), None)

    def _dirty(self) -> bool:
        """Whether a flush would do anything: documents in memory, or files that no manifest lists yet."""
        return bool(len(self._state.active)) or any(entry.kind == Kind.BULK for entry in self._state.recent)

    async def _fold(self, frame: Frozen, reason: str) -> None:
        started_s = perf_counter()
        state = self._state
        registry, dead = state.registry, state.dead
        # Files that were loaded in bulk since the freeze belong to the next manifest.
        files = [file.to_wire() for file in state.files.files if file.seq_first < frame.next_seq]
        swap = self._swap if reason == "swap" else None
        if swap is not None:
            files = [wire for wire in files if wire["key"] not in swap.moved.ranks]
            files += [one.file.to_wire() for one in swap.built]
            dead = swap.moved.dead(dead)
        built: Built | None = None
        ids: list[str] = []  # Of its documents, in its order.
        if frame.memtable is not None:
            await state.resolve(frame.memtable)
            dead = _displaced(frame, dead)
            built, ids = await self._run(partial(_build, self._name("data", ".parquet"), frame.memtable, registry))
            if built is not None:
                registry = built.registry
                await self._create(built.file.key, built.data)
                files.append(built.file.to_wire())
        merged = {} if swap is None else {key: (ranks == LEFT_OUT).any() for key, ranks in swap.moved.ranks.items()}
        tails, history = await self._history.fold(frame, merged)
        id_segments = await self._request_ids(frame)
        manifest = Manifest(
            namespace=state.namespace,
            incarnation=state.incarnation,
            epoch=state.epoch,
            through=frame.through,
            through_id=frame.through_id,
            next_seq=frame.next_seq,
            log_time_us=frame.log_time_us,
            fences=frame.fences,
            files=tuple(files),
            dead={key: deletions.encode(bitmap) for key, bitmap in dead.items() if bitmap},
            registry=registry.to_wire(),
            tails=tails,
            sessions=frame.sessions,
            request_ids=id_segments,
            past=state.past,
            schemas=frame.schemas,
            history=history,
            leases={"read_lease_s": self._settings.read_lease_s, "log_grace_s": self._settings.log_grace_s},
        )
        name = manifest_key(frame.through, state.epoch, self._token())
        data = encode_manifest(manifest)
        await self._create(name, data)
        landed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._writer.submit_checkpoint(CheckpointRequest(name, checksum(data), frame.through, landed))
        position = await landed
        # From here to the end nothing awaits: readers see the state before the flush or the one after it.
        if frame.memtable is not None:
            locations: dict[str, Location] = {}
            if built is not None:
                state.files.add(built.file, built)
                # Only of documents that changed again meanwhile does anybody ask where they lie.
                again = state.active.rows.keys() & frame.memtable.rows.keys()
                rows = ((id_, bisect_left(ids, id_)) for id_ in again if frame.memtable.rows[id_].exists)
                locations = {id_: Location(built.file.key, row) for id_, row in rows}
            state.flushed(locations, dead, registry)
        if swap is not None:
            state.replaced(swap.moved, swap.built, dead)
            self._swap = None
            if not swap.landed.done():
                swap.landed.set_result(None)
        state.id_segments, state.history = id_segments, history
        checkpoint = Checkpoint(position, frame.through, name, manifest.objects, frame.log_time_us)
        state.folded(frame, checkpoint, tails)
        self._writer.wake()  # It holds writes back while too much is unfolded.
        self._announce(frame, built, reason, perf_counter() - started_s)

    async def _request_ids(self, frame: Frozen) -> tuple[Segment, ...]:
        """Store callers' ids recorded since the last manifest; return the segments that still matter."""
        oldest_us = frame.log_time_us - int(self._settings.request_id_window_s * 1_000_000)
        kept = tuple(segment for segment in self._state.id_segments if segment.newest_us >= oldest_us)
        if frame.request_ids is None:
            return kept
        data, newest_us, count = frame.request_ids
        key = self._name("dedupe")
        await self._create(key, data)
        return (*kept, Segment(key, checksum(data), newest_us, count))

    async def _create(self, key: str, data: bytes) -> None:
        await self._committer.store(self._state.prefix + key, data)

    def _announce(self, frame: Frozen, built: Built | None, reason: str, duration_s: float) -> None:
        self.checkpoints += 1
        if frame.memtable is None:
            return
        self.flushes += 1
        rows, size = (built.file.rows, built.file.bytes) if built is not None else (0, 0)
        journal.flushed(self._state.namespace, reason, rows, size, duration_s)
        if self._hooks.hears("flush"):
            self._hooks.emit(
                "flush",
                FlushContext(
                    self._state.namespace,
                    duration_s=duration_s,
                    rows=rows,
                    bytes=size,
                    files=1 if built else 0,
                    reason=reason,
                    seq=frame.next_seq - 1,
                    traceparent=self._asked_by if reason == "request" else None,
                ),
            )

    def _token(self) -> str:
        return self._rng.randbytes(16).hex()

    def _name(self, folder: str, suffix: str = "") -> str:
        return object_key(folder, self._state.epoch, self._token(), suffix)


def _build(key: str, memtable: Memtable, registry: ColumnRegistry) -> tuple[Built | None, list[str]]:
    """Return the data file of a memtable, None when no document of it exists, and the bare ids in its order."""
    versions = memtable.versions()
    if not versions:
        return None, []
    return data_file.build(key, versions, registry), sorted(id_ for id_, row in memtable.rows.items() if row.exists)


def _displaced(frame: Frozen, dead: dict[str, BitMap]) -> dict[str, BitMap]:
    """Return the deletion vectors with the rows that the frozen memtable replaces."""
    grown = dict(dead)
    copied: set[str] = set()
    for row in frame.memtable.rows.values() if frame.memtable is not None else ():
        if row.location is not None:
            key, position = row.location
            if key not in copied:
                grown[key] = BitMap(grown.get(key, ()))
                copied.add(key)
            grown[key].add(position)
    return grown


def _settle(asked: list["asyncio.Future[None]"], error: ParqueDBError | None) -> None:
    for future in asked:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
