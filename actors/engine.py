r"""The engine of one namespace: a plain object without Ray, given its storage, clock, randomness and executor.

    new -> opening -> open -> closed           by `open` and `close`
                         \-> fenced           a rival took the namespace: nothing is acknowledged any more
    An engine is used once; whoever hosts it makes a new one to open the namespace again.

Writes go through `Writer`; reads are answered here from the committed state, under the read lease.
"""

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, Literal

from parquedb.actors.folding.checkpoint import Checkpointer
from parquedb.actors.folding.compaction import Compactor
from parquedb.actors.loads.bulk import BulkLoads
from parquedb.actors.reads import examination
from parquedb.actors.reads.past_reads import PastReader
from parquedb.actors.reads.reader import Reader
from parquedb.actors.reporting import journal
from parquedb.actors.reporting.announcements import Announcer
from parquedb.actors.reporting.commit_watch import CommitListeners, CommitWatch
from parquedb.actors.reporting.statistics import lag, statistics
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.actors.state.document_cache import DocumentCache
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.state.request_ids import RequestIds
from parquedb.actors.state.sessions import Sessions
from parquedb.actors.state.whole_answers import WholeAnswers
from parquedb.actors.writes.calls import Awaited, Call, Write
from parquedb.actors.writes.evaluate import Rules
from parquedb.actors.writes.intake import Intake
from parquedb.actors.writes.loading import load_for
from parquedb.actors.writes.many import Many
from parquedb.actors.writes.write_queue import WriteQueue
from parquedb.actors.writes.writer import Writer
from parquedb.clock import Clock
from parquedb.errors import FencedError, InternalError, ParqueDBError, RpcUnavailableError
from parquedb.errors import TimeoutError as DeadlineError
from parquedb.ids import UlidSource
from parquedb.observability.contexts import ColdStartContext
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.propagation import current_traceparent
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.keys import check_namespace, namespace_prefix
from parquedb.storage.log.collection import Collector, Graces, Known
from parquedb.storage.log.opening import Opener
from parquedb.storage.round_trips import RoundTrips

State = Literal["new", "opening", "open", "fenced", "closed", "failed"]
Run = Callable[[Callable[[], Any]], Awaitable[Any]]

_US: Final = 1_000_000


async def _in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


class NamespaceEngine:
    """Orders, checks, commits and reads one namespace.

    Args:
        namespace: Its name.
        storage: With its layers around it.
        settings: Bounds, leases and intervals.
        clock: Log time and leases.
        rng: Commit ids, object names, jitter.
        hooks: Told about commits, flushes and storage.
        run: Runs CPU work off the event loop; threads when not given.
        actor: Name of the actor that hosts it, if one does; hooks are told.
    """

    def __init__(  # noqa: PLR0913 - everything it depends on is given to it
        self,
        namespace: str,
        storage: StorageBackend,
        settings: EngineSettings,
        *,
        clock: Clock,
        rng: random.Random,
        hooks: HookRegistry,
        run: Run | None = None,
        actor: str | None = None,
    ) -> None:
        self.namespace = check_namespace(namespace)
        self.state: State = "new"
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._hooks, self._actor = hooks, actor
        self._announcer = Announcer(hooks, namespace, actor)
        self._run: Run = run or _in_thread
        self._tasks: list[asyncio.Task[None]] = []
        self._over: ParqueDBError | None = None
        prefix = namespace_prefix(namespace)
        self._prefix = prefix
        files = DataFiles(storage, namespace, cache_bytes_max=settings.cache_bytes_max, run=self._run)
        whole = WholeAnswers(settings.receipts_bytes_max)
        self._data = NamespaceState(
            namespace,
            prefix,
            settings,
            files,
            Sessions(settings.session_window, settings.sessions_max, int(settings.session_idle_s * _US), whole),
            RequestIds(settings.request_ids_max, int(settings.request_id_window_s * _US), whole),
            DocumentCache(settings.document_cache_bytes_max),
        )
        settled = asyncio.Event()
        settled.set()
        self._lease = Lease(
            self._data,
            storage,
            clock,
            settings.read_lease_s,
            settled=settled,
            on_rival=self._fenced,
        )
        self._queue = WriteQueue(
            settings, getattr(storage, "write_circuit", None), clock=clock, rng=rng, name=namespace
        )
        self._writer = Writer(
            self._data,
            storage,
            settings,
            queue=self._queue,
            settled=settled,
            lease=self._lease,
            clock=clock,
            rng=rng,
            ids=UlidSource(clock, rng),
            watch=partial(CommitWatch, CommitListeners(hooks, namespace, actor)),
            load=self._load,
            on_progress=self._progressed,
            step_down=self._fenced,
        )
        self._checkpointer = Checkpointer(
            self._data, self._writer, storage, settings, clock=clock, rng=rng, hooks=hooks, run=self._run
        )
        self._compactor = Compactor(
            self._data, self._checkpointer, storage, settings, clock=clock, rng=rng, hooks=hooks
        )
        rules = Rules(namespace, settings.document_bytes_max, settings.depth_max)
        self._intake = Intake(rules, self._writer, self._queue, self._data.sessions, settings.request_timeout_s)
        self._past = PastReader(
            self._data, storage, settings, lease=self._lease, settled=settled, clock=clock, rng=rng, run=self._run
        )
        self._reader = Reader(self._data, self._lease, settings.query_memory_max, self._past, rng=rng, clock=clock)
        self._many = Many(
            rules, self._data, self._reader, settings, writer=self._writer, queue=self._queue, lease=self._lease
        )
        self._loads = BulkLoads(
            *(self._data, self._writer, self._checkpointer, self._lease, storage, settings),
            clock=clock,
            rng=rng,
            spawn=self._spawn,
        )
        self._collector = Collector(storage, prefix, Graces(settings.log_grace_s, settings.snapshot_grace_s))

    @property
    def epoch(self) -> int:
        """Position of our own `open` entry; 0 before it has landed."""
        return self._data.epoch

    @property
    def tail(self) -> int:
        """Position of the last committed log entry."""
        return self._data.tail

    @property
    def fills_in(self) -> bool:
        """Whether a schema may have put more into documents than their callers gave."""
        return self._data.schemas.fills_in

    @property
    def put_s(self) -> float:
        """Seconds that the last commit took in storage; 0 before the first."""
        return self._writer.timing.last_s

    # -- life

    async def open(self) -> None:
        """Take ownership and become ready to answer.

        Raises:
            FencedError: a rival opened at the same moment.
            CorruptionError: the chain is damaged; names the object.
            ParqueDBError: storage refused.
        """
        if self.state != "new":
            raise InternalError(f"engine of {self.namespace!r} is {self.state}; it opens once")
        started_s = perf_counter()
        self.state = "opening"
        trips = RoundTrips(self._storage)
        opener = Opener(trips, self.namespace, self._prefix, self._settings, clock=self._clock, rng=self._rng)
        try:
            opened = await opener.open()
            self._data.restore(opened.chain, opened.segments)
        except BaseException:
            self.state = "failed"
            raise
        self._lease.confirmed(opened.confirmed_s)
        # The previous owner may answer reads for as long as its lease; two must never answer at once.
        await self._clock.sleep(max(0.0, opened.answer_at_s - self._clock.boot_s()))
        if self._over is not None:
            raise self._over
        self.state = "open"
        self._spawn(self._writer.run())
        self._spawn(self._checkpointer.run())
        self._spawn(self._compactor.run())
        self._spawn(self._collect())
        self._checkpointer.progressed()
        if self._hooks.hears("cold_start"):
            took_s, entries, span = perf_counter() - started_s, len(opened.chain.entries), current_traceparent()
            context = ColdStartContext(self.namespace, took_s, self.epoch, entries, trips.count, self._actor, span)
            self._hooks.emit("cold_start", context)

    async def close(self) -> None:
        """Stop answering, write the `close` entry and end; the next owner need not wait for our lease."""
        if self.state != "open":
            return
        self.state = "closed"
        self._over = RpcUnavailableError(f"namespace {self.namespace!r} has been closed by its owner; call again")
        self._writer.stop(self._over)
        await self._writer.drained()
        # Before the entry is sent: once it has landed a successor waits for nobody.
        self._lease.revoke(self._over)
        if self.state == "closed":
            try:
                await self._writer.close()
            except ParqueDBError as error:
                journal.goodbye_unsaid(self.namespace, error)
        self._end()

    def abandon(self) -> None:
        """End at once without touching storage."""
        if self.state in ("open", "opening", "new"):
            self.state = "failed"
            self._over = RpcUnavailableError(f"namespace {self.namespace!r} was abandoned by its owner; call again")
            self._writer.stop(self._over)
        self._end()

    def _fenced(self, failure: ParqueDBError | None = None) -> ParqueDBError:
        """Step down: drop everything pending, answer nothing more; `failure` is why, where it is no other owner."""
        error = failure or FencedError(namespace=self.namespace, epoch=self._data.epoch)
        if self.state in ("open", "closed"):
            self.state = "failed" if failure else "fenced"
            self._over = error
            journal.removed(self.namespace, failure) if failure else journal.fenced(self.namespace, self._data.epoch)
            self._writer.stop(error)
            self._end()
        return error

    def _end(self) -> None:
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        over = self._over or FencedError(namespace=self.namespace, epoch=self._data.epoch)
        self._lease.revoke(over)
        self._checkpointer.stop(over)
        self._compactor.stop(over)
        self._past.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # An empty context: otherwise everything these tasks ever store would hang under the span that opened us.
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.append(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.remove(task)
        if task.cancelled() or task.exception() is None or self.state != "open":
            return
        error = task.exception()
        journal.failed(self.namespace, error)
        self.state = "failed"
        self._over = InternalError(f"the owner of namespace {self.namespace!r} failed: {error}", cause=error)
        self._writer.stop(self._over)
        self._end()

    def _progressed(self) -> None:
        self._checkpointer.progressed()
        self._past.history.progressed()

    # -- operations

    async def execute(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Run operations that arrived together; outcomes come in their order. Never raises for one of them.

        Writes take effect in the order given. Reads see at least every write acknowledged before the call.
        """
        if self._announcer.idle:
            return await self._execute(operations)
        return await self._announcer.announced(operations, partial(self._execute, operations))

    async def _execute(self, operations: Sequence[Operation], span: bytes | None = None) -> list[Outcome]:
        if self.state != "open":
            error = self._over or RpcUnavailableError(f"namespace {self.namespace!r} is {self.state}")
            return [Outcome(error=error)] * len(operations)
        if any(map(examination.is_due, operations)):
            operations = await examination.examined(operations, self._reader, self._settings.request_timeout_s)
        call = Call(len(operations))
        reads = self._reader.at_once(call, self._intake.take(call, operations, span))
        if reads:
            # Together, so that a slow read does not keep a write from its deadline.
            outcomes, *_ = await asyncio.gather(
                call.wait(self._overdue),
                self._reader.answer(call, reads, self._settings.request_timeout_s),
                self._many.answer(call, reads, self._overdue, span),
                self._loads.answer(call, reads),
            )
        else:
            # No tasks: they would cost a lone write three turns of the loop.
            outcomes = await call.wait(self._overdue)
        for place, outcome in enumerate(outcomes):
            if outcome.duplicate:
                outcomes[place] = await self._reader.completed(outcome)
        return outcomes

    def _overdue(self, write: Awaited) -> Outcome:
        late = DeadlineError("the write was still waiting at its deadline; it was taken back and is not applied")
        return self._queue.overdue(write, Outcome(error=late))

    def _load(self, writes: list[Write]) -> None:
        """Fetch for writes that the writer could not decide yet, then have them decided."""

        async def work() -> None:
            await load_for(writes, self._data, self._queue, self._lease, memory_max=self._settings.query_memory_max)
            self._writer.loaded()

        self._spawn(work())

    async def flush(self) -> None:
        """Turn everything acknowledged so far into Parquet.

        Raises:
            ParqueDBError: it failed; nothing is lost, the documents stay in the log.
        """
        self._must_be_open()
        await self._checkpointer.flush()

    async def compact(self) -> dict[str, int]:
        """Flush, then merge data files until there is nothing left worth it; return what was done as counts.

        Raises:
            ParqueDBError: it failed; nothing is lost and nothing half done.
        """
        self._must_be_open()
        return (await self._compactor.compact()).to_wire()

    async def collect(self) -> int:
        """Delete objects that nothing needs any more; return how many."""
        self._must_be_open()
        data = self._data

        def known() -> Known:
            needed = {file.key for file in data.files.files} | data.files.in_use() | self._past.pins.keys()
            return Known(tuple(data.checkpoints), frozenset(data.fences), data.epoch, data.inherited, frozenset(needed))

        deleted = await self._collector.collect(known, self._lease.confirm)
        data.checkpoints = [one for one in data.checkpoints if one.position >= self._collector.base]
        return deleted

    async def _collect(self) -> None:
        # At some time in the first interval: where all owners are short-lived, some of them collect nevertheless.
        # Not before those who hold snapshots had the time to say so to the new owner.
        delay_s = self._past.pins.lease_s + self._rng.uniform(0, self._settings.collect_interval_s)
        while True:
            await self._clock.sleep(delay_s)
            delay_s = self._settings.collect_interval_s
            try:
                journal.collected(self.namespace, await self.collect())
            except ParqueDBError as error:
                journal.collection_failed(self.namespace, error)

    def _must_be_open(self) -> None:
        if self.state != "open":
            raise self._over or RpcUnavailableError(f"namespace {self.namespace!r} is {self.state}")

    def stats(self) -> dict[str, Any]:
        """Return counts and positions as plain data, without I/O."""
        counted = statistics(self._data, self._checkpointer, self._compactor, self._collector)
        return {"namespace": self.namespace, "state": self.state, **counted, **self.lag()}

    def lag(self) -> dict[str, Any]:
        """Return how far behind it is; see `statistics.lag`."""
        return lag(self._data, self._checkpointer, self._compactor, self._queue, self._writer, self._reader.gate)
