"""The writer of one namespace: decides queued writes in groups and commits each group with one PUT.

While one PUT is in flight, arriving writes gather; when it is settled the next group is decided against what is then
committed. A lone write leaves at once; there is no timer and never a second PUT in flight. No answer leaves before the
entry it depends on has landed (the output gate), and that holds for refusals too.

    run: wait for work -> form a group (no await) -> commit -> apply (no await) -> answer
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from parquedb.actors.reporting import journal
from parquedb.actors.reporting.commit_watch import CommitTiming, CommitWatch
from parquedb.actors.requests.operations import Outcome
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState, log_datetime
from parquedb.actors.writes.calls import Stage, Write
from parquedb.actors.writes.commit_group import BulkRequest, CheckpointRequest, Group, NotLoaded
from parquedb.actors.writes.deciding import decide
from parquedb.actors.writes.draft import Draft
from parquedb.actors.writes.receipts import recalled
from parquedb.actors.writes.schemas import DraftSchemas
from parquedb.actors.writes.unforeseen import told
from parquedb.actors.writes.update_run import UpdateRun
from parquedb.actors.writes.write_queue import WriteQueue, unknown
from parquedb.clock import Clock
from parquedb.documents.codec import decode
from parquedb.errors import FencedError, ParqueDBError
from parquedb.ids import UlidSource
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.bulk.load_entry import encode_bulk
from parquedb.storage.files.data_files import IndexNotLoaded
from parquedb.storage.log.commit import Committer
from parquedb.storage.log.entry import BackPointer, Kind, LogEntry, encode_entry
from parquedb.storage.log.events import encode_body

_HARD_BOUND: Final = 4
"""Writes wait once this many times the settings' entries or bytes are unfolded, so that one listing page and one batch
of GETs always suffice to open (rule 18)."""


class Writer:
    """See the module.

    Args:
        state: Changed only here, and only by entries that have landed.
        storage: Where the log is.
        settings: Bounds of a group, and of what may stay unfolded.
        queue: Where the writes come from.
        settled: Set while no commit's fate is open.
        lease: Confirms answers that commit nothing.
        clock: Log time.
        rng: Commit ids.
        ids: Makes document ids.
        watch: Tells the hooks about a commit, given its entry, its bytes and the writes it carries.
        load: Fetches the documents that writes need, then calls `loaded`.
        on_progress: Called after each landed entry.
        step_down: Ends this incarnation and returns the error for whoever still waits.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        state: NamespaceState,
        storage: StorageBackend,
        settings: EngineSettings,
        *,
        queue: WriteQueue,
        settled: asyncio.Event,
        lease: Lease,
        clock: Clock,
        rng: random.Random,
        ids: UlidSource,
        watch: Callable[[LogEntry, int, list[Write]], CommitWatch],
        load: Callable[[list[Write]], None],
        on_progress: Callable[[], None],
        step_down: Callable[[], ParqueDBError],
    ) -> None:
        self._state = state
        self._settings = settings
        self._queue = queue
        self._settled = settled
        self._lease = lease
        self._clock = clock
        self._rng = rng
        self._ids = ids
        self._watch = watch
        self._load = load
        self._on_progress = on_progress
        self._step_down = step_down
        self._committer = Committer(storage, clock, rng)
        self._checkpoint: CheckpointRequest | None = None
        self._bulk: deque[BulkRequest] = deque()
        self._stopped = False
        self._over: ParqueDBError | None = None
        self._loading: list[Write] = []
        self._parked: list[Write] = []
        self.commits, self.timing, self.unresolved = 0, CommitTiming(clock), False

    def submit_checkpoint(self, request: CheckpointRequest) -> None:
        """Commit a checkpoint entry next; its future gets the entry's position."""
        self._checkpoint = request
        self.wake()

    def submit_bulk(self, request: BulkRequest) -> None:
        """Commit a bulk load between two groups."""
        if self._over is not None:
            return request.fail(self._over)
        self._bulk.append(request)
        return self.wake()

    def wake(self) -> None:
        """Look for work again: something that held it up may be gone."""
        self._queue.arrived.set()

    def recall(self, write: Write) -> Outcome | None:
        """Return what a retry was answered before, or why that can't be known; None when it is new."""
        return recalled(write, self._state, self._clock.now())

    async def run(self) -> None:
        """Commit until stopped."""
        while not self._stopped:
            await self._queue.arrived.wait()
            self._queue.arrived.clear()
            while not self._stopped:
                if self._checkpoint is None and (self._full() or not (self._bulk or len(self._queue))):
                    break
                if self._checkpoint is not None:
                    await self._commit_checkpoint(self._checkpoint)
                    continue
                if self._bulk:
                    await self._commit_bulk(self._bulk.popleft())
                if len(self._queue) and not self._stopped:
                    await self._commit_group(self._form())

    def _full(self) -> bool:
        settings, state = self._settings, self._state
        folded = state.base.through if state.base is not None else 0
        return (
            state.tail - folded >= _HARD_BOUND * settings.checkpoint_entries_max
            or state.recent_bytes >= _HARD_BOUND * settings.checkpoint_bytes_max
        )

    def _form(self) -> Group:
        """Decide queued writes, oldest first, until the group is full. Never awaits."""
        now = log_datetime(self._state.now_us(self._clock.now()))
        write: Write

        def committed(id_: str) -> dict[str, object] | None:
            return self._committed(write, id_)

        schemas = DraftSchemas(self._state.schemas.registered)
        group = Group(Draft(committed, now, self._ids.take, schemas, self._state.next_seq))
        # What touches a document of a write that waits to be loaded must not overtake it.
        held = {id_ for waiting in (*self._loading, *self._parked) for id_ in waiting.prepared.ids}
        ops_max, bytes_max = self._settings.group_ops_max, self._settings.group_bytes_max
        while group.draft.count < ops_max and group.size < bytes_max:
            taken = self._queue.take()
            if taken is None:
                break
            write = taken
            if isinstance(write, UpdateRun):
                self._decide_updates(write, group, held)
                continue
            try:
                if not held.isdisjoint(write.prepared.ids):
                    raise NotLoaded  # noqa: TRY301 - one place parks writes
                outcome = decide(write, group, self._state.namespace, self._state.next_seq)
            except NotLoaded:
                self._parked.append(write)
                held.update(write.prepared.ids)
                continue
            group.writes.append(write)
            group.outcomes.append(outcome)
            group.size += write.prepared.size
        if self._parked and not self._loading:
            self._loading, self._parked = self._parked, []
            self._load(self._loading)
        return group

    def loaded(self) -> None:
        """Decide the writes given to `load` now: their documents are there, or they have been refused."""
        loading, self._loading = self._loading, []
        self._queue.offer(loading + self._parked)
        self._parked = []

    def _decide_updates(self, run: UpdateRun, group: Group, held: set[str]) -> None:
        first_seq = group.draft.next_seq
        answers, left = run.decide(group.draft, held)
        if left:
            self._queue.part(run, left)
        if not run.count:
            self._queue.finish(run, Outcome([]))
            return
        group.writes.append(run)
        group.outcomes.append(Outcome(answers, seq=first_seq))
        group.size += run.prepared.size

    def _committed(self, write: Write, id_: str) -> dict[str, object] | None:
        """Return a committed document.

        Raises:
            NotLoaded: it is in a data file alone, and `write` does not carry it.
        """
        known, document = self._state.in_memory(id_)
        if known:
            return document
        encoded = self._state.cache.get(id_)
        if encoded is not None:
            return decode(encoded)  # type: ignore[no-any-return] # It is a document.
        try:
            location = self._state.files.locate_now(id_)
        except IndexNotLoaded:
            raise NotLoaded from None
        if location is None:
            return None
        loaded = write.loaded.get(id_)
        if loaded is None or loaded[0] != location:
            raise NotLoaded
        return loaded[1]

    async def _commit_group(self, group: Group) -> None:
        if not group.writes:
            return
        for write in group.writes:
            write.stage = Stage.COMMITTING
        try:
            await self._settle_group(group)
        except asyncio.CancelledError:
            # Stepping down ends this task wherever it is; nobody may be left waiting for it.
            sent = bool(group.draft.events) or self._over is None
            self._queue.answer(
                group.writes,
                [Outcome(error=unknown(w, "ownership was lost") if sent else self._over) for w in group.writes],
            )
            raise

    async def _settle_group(self, group: Group) -> None:
        if not group.draft.events:
            error = await self._confirmed()
            outcomes = group.outcomes if error is None else [Outcome(error=error)] * len(group.writes)
            self._queue.answer(group.writes, outcomes)
            return
        records = [record for record, _ in group.records]
        body = encode_body(group.draft.events, records)
        landed = await self._commit(Kind.WRITE, body, group.draft.count, self._state.base, group.writes)
        if isinstance(landed, ParqueDBError):
            self._queue.answer(group.writes, [Outcome(error=landed)] * len(group.writes))
            return
        if landed is None:
            self._queue.answer(group.writes, [Outcome(error=unknown(w, "ownership was lost")) for w in group.writes])
            return
        self._state.apply(group.draft.events, landed)
        self._state.schemas.warn(self._state.namespace, group.draft.schemas.warned)
        for record, receipt in group.records:
            self._state.settle(record, receipt)
        self._queue.answer(group.writes, group.outcomes)
        self._on_progress()

    async def _confirmed(self) -> ParqueDBError | None:
        """Return None once answers that commit nothing may leave, or why they may not."""
        try:
            await self._lease.confirm()
        except ParqueDBError as error:
            return error
        return None

    async def _commit_checkpoint(self, request: CheckpointRequest) -> None:
        position = self._state.tail + 1
        base = BackPointer(position, request.manifest, request.checksum, request.through)
        landed = await self._commit(Kind.CHECKPOINT, b"", 0, base, [])
        self._checkpoint = None
        if request.landed.done():
            return
        if isinstance(landed, ParqueDBError):
            request.landed.set_exception(landed)
        elif landed is None:
            request.landed.set_exception(FencedError(namespace=self._state.namespace, epoch=self._state.epoch))
        else:
            request.landed.set_result(position)

    async def _commit_bulk(self, request: BulkRequest) -> None:
        try:
            bulk = request.decide()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this load's alone
            request.fail(told(error, self._state.namespace, "insert_arrow"))
            return
        if bulk is None:
            request.landed.set_result(None)
            return
        request.committing = True
        landed = await self._commit(Kind.BULK, encode_bulk(bulk), bulk.rows, self._state.base, [])
        if isinstance(landed, LogEntry):
            self._state.load(bulk, landed)
            request.landed.set_result(landed)
            self._on_progress()
        elif landed is not None:
            request.fail(landed)
        # Otherwise ownership was lost, which ends the task that waits as well.

    async def close(self) -> None:
        """Write the `close` entry: the last one of this owner, who has stopped answering.

        Raises:
            ParqueDBError: it did not land; the next owner waits out the lease.
        """
        landed = await self._commit(Kind.CLOSE, b"", 0, self._state.base, [])
        if isinstance(landed, ParqueDBError):
            raise landed

    async def _commit(
        self, kind: Kind, body: bytes, count: int, base: BackPointer | None, writes: list[Write]
    ) -> LogEntry | ParqueDBError | None:
        """Put one entry at the end of the log.

        Returns:
            The entry once it has landed and the state stands on it; the error when it certainly has not and never will;
            None when that can't be known. But for the first two with us still the owner, this incarnation is over.
        """
        try:
            await self._lease.look_back()
        except ParqueDBError as error:
            return error
        entry = self._state.next_entry(
            kind, body, count, base, commit_id=self._rng.randbytes(16), now=self._clock.now()
        )
        data = encode_entry(entry)
        watch = self._watch(entry, len(data), writes)
        self._settled.clear()
        self.timing.begin()
        try:
            settlement, landed = await self._committer.settle_entry(
                self._state.prefix, entry, data, on_doubt=self._in_doubt
            )
        except BaseException as error:
            watch.failed(error)
            if isinstance(error, ParqueDBError):
                return error
            raise  # Stepping down ends this task wherever it is.
        finally:
            self._settled.set()
            self.unresolved = False
            self.timing.end()
        journal.commit_settled(self._state.namespace, settlement, self.timing.last_s)
        if landed:
            self._state.advance(entry, data)
            self.commits += 1
            watch.landed(settlement.attempts)
            self._lease.landed(settlement.first_attempt_s)
        if settlement.found is None and landed:
            return entry
        fenced = self._step_down()
        if landed:
            return entry
        watch.failed(fenced)
        return fenced if landed is False else None

    def _in_doubt(self, error: ParqueDBError) -> None:
        """After each attempt without a certain end: refuse what waits behind it once the circuit is open."""
        if not self.unresolved:
            journal.commit_in_doubt(self._state.namespace, self._state.tail + 1, error)
        self.unresolved = True
        refusal = self._queue.circuit_refusal()
        if refusal is not None:
            self._queue.refuse_waiting(refusal)

    def stop(self, error: ParqueDBError) -> None:
        """Commit nothing more; refuse what is queued, and everything from now on, with `error`."""
        self._stopped = True
        self._over = self._over or error
        self._queue.close(error)
        self.loaded()
        if self._checkpoint is not None and not self._checkpoint.landed.done():
            self._checkpoint.landed.set_exception(error)
        while self._bulk:
            self._bulk.popleft().fail(error)

    async def drained(self) -> None:
        """Return once no commit is in flight; the caller has stopped the writer."""
        await self._settled.wait()
