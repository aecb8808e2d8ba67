"""Merging data files in the background: fewer files, no dead rows, everything sorted.

The files are merged beside everything else that goes on: writes, flushes and checkpoints do not wait. Only the last
step, the swap, goes through the checkpointer: a manifest that names the merged files instead of their sources, made
real by a checkpoint entry like any other. Rows that died in the meantime, and places that the memtable remembers,
are carried over when that entry has landed. Until then the merged files are garbage that nobody refers to.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from time import perf_counter
from typing import Final

from parquedb.actors.folding.checkpoint import Checkpointer
from parquedb.actors.reporting import journal
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.clock import Clock
from parquedb.errors import FencedError, InternalError, ParqueDBError
from parquedb.observability.contexts import CompactionContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.propagation import current_traceparent
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.compaction.merge import Merge
from parquedb.storage.compaction.plan import Limits, candidates, choose
from parquedb.storage.files.data_file import Built, DataFile
from parquedb.storage.log.commit import Committer
from parquedb.storage.log.manifest import object_key

_PAUSE_MAX_S: Final = 600.0


@dataclass(slots=True)
class Compacted:
    """What compaction did.

    Attributes:
        compactions: Times it merged.
        files_in: Files that were merged.
        files_out: Files they became.
        rows: Live rows carried over.
        rows_dropped: Dead rows left behind.
        bytes_in: Size of the files before.
        bytes_out: Size of the files after.
    """

    compactions: int = 0
    files_in: int = 0
    files_out: int = 0
    rows: int = 0
    rows_dropped: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, other: "Compacted") -> None:
        """Count another one in."""
        for name, count in other.to_wire().items():
            setattr(self, name, getattr(self, name) + count)

    def to_wire(self) -> dict[str, int]:
        """Return the counts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Compactor:
    """Merges the files of one namespace, one merge at a time.

    Args:
        state: Says which files there are.
        checkpointer: Makes the swap real.
        storage: Where the new files go.
        settings: When merging is worth while, and how large files get.
        clock: For pauses between tries of a PUT.
        rng: Names of files.
        hooks: Told about each merge.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        state: NamespaceState,
        checkpointer: Checkpointer,
        storage: StorageBackend,
        settings: EngineSettings,
        *,
        clock: Clock,
        rng: random.Random,
        hooks: HookRegistry,
    ) -> None:
        self._state = state
        self._checkpointer = checkpointer
        self._storage = storage
        self._settings = settings
        self._rng = rng
        self._hooks = hooks
        self._committer = Committer(storage, clock, rng)
        self._limits = Limits(
            settings.compaction_files,
            settings.compaction_dead_share,
            settings.compaction_file_bytes,
            settings.compaction_bytes_max,
        )
        self._wanted = asyncio.Event()
        self._asked: list[asyncio.Future[Compacted]] = []
        self._served: list[asyncio.Future[Compacted]] = []
        self._asked_by: str | None = None
        self._pause_s = settings.compaction_interval_s
        self.total = Compacted()
        self.failures = 0
        self.last_error: ParqueDBError | None = None

    async def compact(self) -> Compacted:
        """Flush, then merge whatever makes fewer or tidier files; return what was done.

        Raises:
            ParqueDBError: it failed; nothing is lost and nothing half done.
        """
        done: asyncio.Future[Compacted] = asyncio.get_running_loop().create_future()
        self._asked.append(done)
        self._asked_by = current_traceparent()
        self._wanted.set()
        return await done

    async def run(self) -> None:
        """Merge until cancelled; a failure is logged and tried again, each time later."""
        while True:
            await self._wait()
            self._served, self._asked = self._asked, []
            try:
                done = await self._tidy() if self._served else await self._look()
            except FencedError as error:
                self.stop(error)
                raise
            except ParqueDBError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the namespace can do without compaction
                self._failed(InternalError(f"compaction of {self._state.namespace!r} failed: {error!r}", cause=error))
            else:
                self.last_error, self._pause_s = None, self._settings.compaction_interval_s
                self._serve(done)

    def _failed(self, error: ParqueDBError) -> None:
        self.failures += 1
        self.last_error = error
        # What fails may fail again, and each try reads and writes whole files.
        self._pause_s = min(2 * self._pause_s, max(_PAUSE_MAX_S, self._settings.compaction_interval_s))
        journal.compaction_failed(self._state.namespace, error, self._pause_s)
        self._serve(error)

    def stop(self, error: ParqueDBError) -> None:
        """Tell whoever waits for a compaction that none will come."""
        self._served, self._asked = self._served + self._asked, []
        self._serve(error)

    def _serve(self, result: Compacted | ParqueDBError) -> None:
        """Answer those who asked for the compaction under way."""
        served, self._served = self._served, []
        for future in served:
            if future.done():
                continue
            if isinstance(result, ParqueDBError):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def _wait(self) -> None:
        """Return when it is time to look again, or somebody asks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self._wanted.wait()
        self._wanted.clear()

    async def _look(self) -> Compacted:
        done = Compacted()
        while sources := self._choose():
            done.add(await self._merge(sources))
        return done

    async def _tidy(self) -> Compacted:
        """Do what was asked for; files made meanwhile are left alone, or under steady writes it would never end."""
        await self._checkpointer.flush()
        done, among = Compacted(), {file.key for file in self._state.files.files}
        while sources := self._choose(among):
            done.add(await self._merge(sources))
        return done

    def _choose(self, among: set[str] | None = None) -> list[DataFile]:
        """Return the files to merge next, with `among` any of those that are worth it."""
        state = self._state
        # A file that no manifest lists yet is named by a log entry alone: its removal could not be told.
        listed = state.checkpoints[-1].objects if state.checkpoints else frozenset()
        wanted = [one for one in state.files.files if one.key in listed and (among is None or one.key in among)]
        return choose(candidates(wanted, state.files.live_dead), self._limits, thorough=among is not None)

    async def _merge(self, sources: Sequence[DataFile]) -> Compacted:
        started_s = perf_counter()
        state, settings = self._state, self._settings
        merge = Merge(state.files, sources, state.registry, file_bytes=settings.compaction_file_bytes)
        await merge.begin()
        built: list[Built] = []
        try:
            kept_bytes = 0
            while (one := await merge.next_file(self._name())) is not None:
                await self._committer.store(state.prefix + one.file.key, one.data)
                kept_bytes += len(one.data)
                # What fits stays in memory, for the next read; the sources are about to leave the cache.
                built.append(one if kept_bytes <= settings.cache_bytes_max // 2 else replace(one, data=b""))
        except ParqueDBError:
            await self._discard(built)
            raise
        await self._checkpointer.swap(await state.files.run(lambda: merge.moved), built)
        done = Compacted(
            compactions=1,
            files_in=len(sources),
            files_out=len(built),
            rows=merge.rows,
            rows_dropped=sum(file.rows for file in sources) - merge.rows,
            bytes_in=sum(file.bytes for file in sources),
            bytes_out=sum(one.file.bytes for one in built),
        )
        self.total.add(done)
        self._announce(done, perf_counter() - started_s)
        return done

    async def _discard(self, built: Sequence[Built]) -> None:
        """Delete files that will never be named; those that resist are left to the next owner."""
        for one in built:
            with suppress(ParqueDBError):
                await self._storage.delete(self._state.prefix + one.file.key)

    def _name(self) -> str:
        return object_key("data", self._state.epoch, self._rng.randbytes(16).hex(), ".parquet")

    def _announce(self, done: Compacted, duration_s: float) -> None:
        journal.compacted(self._state.namespace, done.to_wire(), duration_s)
        if self._hooks.hears("compaction"):
            context = CompactionContext(
                self._state.namespace,
                duration_s=duration_s,
                files_in=done.files_in,
                files_out=done.files_out,
                rows=done.rows,
                rows_dropped=done.rows_dropped,
                bytes_in=done.bytes_in,
                bytes_out=done.bytes_out,
                traceparent=self._asked_by if self._served else None,
            )
            self._hooks.emit("compaction", context)
