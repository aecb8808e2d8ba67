"""Bugs to plant into the engine, each one sentence of the protocol broken; the checker has to find every one."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from parquedb import errors
from parquedb.actors.folding import checkpoint
from parquedb.actors.state import frames, lease
from parquedb.actors.state import namespace_state as state
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.state.sessions import Sessions
from parquedb.actors.writes import evaluate, writer
from parquedb.actors.writes.calls import Write
from parquedb.actors.writes.update_run import UpdateRun
from parquedb.actors.writes.write_queue import WriteQueue
from parquedb.storage.compaction.merge import Merge
from parquedb.storage.compaction.moved import Moved
from parquedb.storage.log import collection, opening
from parquedb.storage.log.commit import Committer, Settled, Settlement
from parquedb.storage.log.entry import encode_entry, entry_key, position_of
from parquedb.storage.log.events import Event
from parquedb.storage.log.manifest import through_of
from parquedb.storage.log.predecessors import Predecessors
from tests.support.sim_store import SimConnection

Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, Plant] = {}


def bug(plant: Plant) -> Plant:
    """Register a bug under the words of its name."""
    BUGS[plant.__name__.replace("_", " ")] = plant
    return plant


@bug
def acknowledge_before_the_put(patch: pytest.MonkeyPatch) -> None:
    original = writer.Writer._settle_group

    async def early(self: Any, group: Any) -> None:
        if group.draft.events:
            for write, outcome in zip(group.writes, group.outcomes, strict=True):
                if type(write) is not Write:
                    continue  # A run answers its callers one by one.
                waiters, write.waiters = write.waiters, []
                for call, place in waiters:
                    call.settle(place, outcome)
        await original(self, group)

    patch.setattr(writer.Writer, "_settle_group", early)


def _settle_with(
    patch: pytest.MonkeyPatch, verdict: Callable[[errors.ParqueDBError, bytes], Settlement | None]
) -> None:
    """Let the first answer to a create decide, as `verdict` says; None leaves it to the real thing."""
    original = Committer.settle

    async def settle(self: Any, key: str, data: bytes, **options: Any) -> Settlement:
        if "/log/" not in key:
            return await original(self, key, data, **options)
        start_s = self._clock.boot_s()
        try:
            await self._storage.create(key, data)
        except errors.ParqueDBError as error:
            decided = verdict(error, data)
            if decided is not None:
                return decided
            return await original(self, key, data, **options)
        return Settlement(Settled.LANDED, 1, start_s)

    patch.setattr(Committer, "settle", settle)


@bug
def a_timeout_means_no(patch: pytest.MonkeyPatch) -> None:
    def verdict(error: errors.ParqueDBError, data: bytes) -> Settlement | None:
        if isinstance(error, errors.OutcomeUnknownError):
            raise errors.StorageWriteError("timed out")
        return None

    _settle_with(patch, verdict)


@bug
def a_404_after_a_timeout_means_no(patch: pytest.MonkeyPatch) -> None:
    original = Committer.settle

    async def settle(self: Any, key: str, data: bytes, **options: Any) -> Settlement:
        if "/log/" not in key:
            return await original(self, key, data, **options)
        start_s = self._clock.boot_s()
        try:
            await self._storage.create(key, data)
        except errors.OutcomeUnknownError as error:
            try:
                await self._storage.read(key)
            except errors.ObjectNotFoundError:
                raise errors.StorageWriteError("not there") from error
            except errors.ParqueDBError:
                pass
            return await original(self, key, data, **options)
        except errors.ParqueDBError:
            return await original(self, key, data, **options)
        return Settlement(Settled.LANDED, 1, start_s)

    patch.setattr(Committer, "settle", settle)


@bug
def a_412_means_yes(patch: pytest.MonkeyPatch) -> None:
    def verdict(error: errors.ParqueDBError, data: bytes) -> Settlement | None:
        return Settlement(Settled.LANDED, 1, 0.0) if isinstance(error, errors.AlreadyExistsError) else None

    _settle_with(patch, verdict)


@bug
def a_412_means_no(patch: pytest.MonkeyPatch) -> None:
    """Our own first attempt may have landed."""

    async def whose(self: Any, key: str, data: bytes, is_ours: Any) -> tuple[Settled, bytes | None]:
        return Settled.FOREIGN, await self._storage.read(key)

    async def overtaken(self: Any, prefix: str, entry: Any, foreign_id: bytes) -> bool:
        return False

    patch.setattr(Committer, "_whose", whose)
    patch.setattr(Committer, "_overtaken", overtaken)


@bug
def a_409_is_taken_for_a_412(patch: pytest.MonkeyPatch) -> None:
    original = SimConnection.create

    async def create(self: Any, key: str, data: bytes, **options: Any) -> Any:
        try:
            return await original(self, key, data, **options)
        except errors.ConcurrentModificationError:
            raise errors.AlreadyExistsError(key=key) from None

    async def whose(self: Any, key: str, data: bytes, is_ours: Any) -> tuple[Settled, bytes | None]:
        return Settled.LANDED, None

    patch.setattr(SimConnection, "create", create)
    patch.setattr(Committer, "_whose", whose)


@bug
def a_foreign_entry_is_no_fence(patch: pytest.MonkeyPatch) -> None:
    """The owner takes the next free position instead of stepping down."""

    async def commit_anyway(self: Any, kind: Any, *rest: Any) -> Any:
        while True:
            commit_id, now = self._rng.randbytes(16), self._clock.now()
            entry = self._state.next_entry(kind, *rest[:3], commit_id=commit_id, now=now)
            data = encode_entry(entry)
            try:
                settlement, landed = await self._committer.settle_entry(self._state.prefix, entry, data)
            except errors.ParqueDBError as error:
                return error
            if landed:
                self._state.advance(entry, data)
                self._lease.confirmed(settlement.first_attempt_s)
                return entry
            self._state.tail += 1

    patch.setattr(writer.Writer, "_commit", commit_anyway)


@bug
def reads_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease.Lease, "holds", lambda self: True)


@bug
def a_new_owner_does_not_wait_for_the_old_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(opening, "LEASE_MARGIN", 0.0)


@bug
def refusals_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    async def confirmed(self: Any) -> None:
        return None

    patch.setattr(writer.Writer, "_confirmed", confirmed)


@bug
def sessions_are_not_in_the_manifest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sessions, "restore", lambda self, wire: None)


@bug
def replay_forgets_requests(patch: pytest.MonkeyPatch) -> None:
    original = NamespaceState._replay
    patch.setattr(NamespaceState, "_replay", lambda self, entry, *, requests: original(self, entry, requests=False))


@bug
def a_retry_does_not_join_what_is_under_way(patch: pytest.MonkeyPatch) -> None:
    """And is decided beside it."""

    def admit(self: Any, write: Any, left_s: float) -> Any:
        self.ops += 1
        self.bytes += write.prepared.size
        self._waiting.append(write)
        self.arrived.set()
        return write

    # Two attempts in one group: neither finds the other's receipt.
    patch.setattr(WriteQueue, "admit", admit)


@bug
def log_entries_below_the_checkpoint_entry_are_collected(patch: pytest.MonkeyPatch) -> None:
    """Instead of those below what it folded."""
    original = collection.plan

    def plan(listing: Any, known: Any, landed_s: Any, graces: Any) -> list[str]:
        moved = tuple(_Shifted(c) for c in known.checkpoints)
        return original(listing, replace(known, checkpoints=moved), landed_s, graces)

    patch.setattr(collection, "plan", plan)


class _Shifted:
    def __init__(self, inner: Any) -> None:
        self.position, self.manifest, self.objects = inner.position, inner.manifest, inner.objects
        self.through = inner.position - 1


@bug
def fences_are_collected(patch: pytest.MonkeyPatch) -> None:
    original = collection.plan

    def plan(listing: Any, known: Any, landed_s: Any, graces: Any) -> list[str]:
        return original(listing, replace(known, fences=frozenset()), landed_s, graces)

    patch.setattr(collection, "plan", plan)


@bug
def deletion_vectors_are_dropped_at_a_flush(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoint, "_displaced", lambda frame, dead: dead)


@bug
def half_a_batch_is_applied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evaluate.Draft, "branch", lambda self: self)
    patch.setattr(evaluate.Draft, "merge", lambda self, branch: None)


def _show(held: Any, event: Any) -> None:
    """Let reads find the document of an event in memory."""
    row = held.active.rows[event.id]
    row.change(event.document, row.seq, row.size)
    held.cache.forget(event.id)


@bug
def reads_see_what_is_not_committed(patch: pytest.MonkeyPatch) -> None:
    original = writer.Writer._settle_group

    async def settle(self: Any, group: Any) -> None:
        for event in group.draft.events:
            if isinstance(event, Event) and event.id in self._state.active.rows:
                _show(self._state, event)
        await original(self, group)

    patch.setattr(writer.Writer, "_settle_group", settle)


@bug
def the_memtable_is_lost_at_a_flush(patch: pytest.MonkeyPatch) -> None:
    """Changes made while the flush ran go with it."""
    original = NamespaceState.flushed

    def flushed(self: Any, locations: Any, dead: Any, registry: Any) -> None:
        original(self, locations, dead, registry)
        self.active = state.Memtable()

    patch.setattr(NamespaceState, "flushed", flushed)


@bug
def a_row_changed_during_a_flush_stays_alive(patch: pytest.MonkeyPatch) -> None:
    def flushed(self: Any, locations: Any, dead: Any, registry: Any) -> None:
        self.dead, self.registry, self.frozen = dead, registry, None

    patch.setattr(NamespaceState, "flushed", flushed)


@bug
def a_checkpoint_folds_what_landed_after_its_manifest(patch: pytest.MonkeyPatch) -> None:
    original = checkpoint.Checkpointer._request_ids

    async def request_ids(self: Any, frame: Any) -> Any:
        segments = await original(self, frame)
        now = self._state
        frame.through, frame.through_id, frame.next_seq = now.tail, now.tail_id, now.next_seq
        return segments

    patch.setattr(checkpoint.Checkpointer, "_request_ids", request_ids)
    patch.setattr(frames.Frozen, "__setattr__", object.__setattr__)


@bug
def expected_versions_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evaluate, "_check_version", lambda found, id_, options, rules: None)


@bug
def versions_are_checked_against_what_was_flushed(patch: pytest.MonkeyPatch) -> None:
    """The newest state is in memory; the files are behind it."""
    original = NamespaceState.in_memory

    def in_memory(self: Any, id_: str) -> Any:
        known, document = original(self, id_)
        if known and self.frozen is not None and id_ in self.frozen.rows:
            return True, self.frozen.rows[id_].document
        return known, document

    patch.setattr(NamespaceState, "in_memory", in_memory)


@bug
def an_overdue_commit_is_reported_as_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WriteQueue, "overdue", lambda self, write, late: late)


@bug
def a_404_vouches_while_a_commit_is_open(patch: pytest.MonkeyPatch) -> None:
    original = lease.Lease.__init__

    def init(self: Any, *positional: Any, **named: Any) -> None:
        always = asyncio.Event()
        always.set()
        original(self, *positional, **{**named, "settled": always})

    patch.setattr(lease.Lease, "__init__", init)


def _forget_vectors(patch: pytest.MonkeyPatch) -> None:
    def dead(self: Any, old: Any) -> Any:
        return {key: bitmap for key, bitmap in old.items() if key not in self.ranks}

    patch.setattr(Moved, "dead", dead)


@bug
def deletion_vectors_are_dropped_at_a_compaction(patch: pytest.MonkeyPatch) -> None:
    original = Merge.__init__

    def init(self: Any, *positional: Any, **named: Any) -> None:
        original(self, *positional, **named)
        self._dead = dict.fromkeys(self._dead)

    patch.setattr(Merge, "__init__", init)
    _forget_vectors(patch)


@bug
def rows_that_died_during_a_compaction_stay_alive(patch: pytest.MonkeyPatch) -> None:
    _forget_vectors(patch)


@bug
def the_memtable_keeps_its_places_in_merged_files(patch: pytest.MonkeyPatch) -> None:
    def replaced(self: Any, moved: Any, built: Any, dead: Any) -> None:
        self.dead = dead
        self.files.replace(moved, built)

    patch.setattr(NamespaceState, "replaced", replaced)


@bug
def inputs_of_a_compaction_are_collected_before_it_has_landed(patch: pytest.MonkeyPatch) -> None:
    original = checkpoint.Checkpointer.swap

    async def swap(self: Any, moved: Any, built: Any) -> None:
        for key in moved.ranks:
            await self._committer._storage.delete(self._state.prefix + key)
        await original(self, moved, built)

    patch.setattr(checkpoint.Checkpointer, "swap", swap)


@bug
def what_earlier_owners_superseded_is_collected_at_once(patch: pytest.MonkeyPatch) -> None:
    async def referred(self: Any, stored: Any, through: int, known: Any) -> frozenset[str]:
        return frozenset()

    patch.setattr(Predecessors, "_referred", referred)


@bug
def grace_counts_from_creation(patch: pytest.MonkeyPatch) -> None:
    """Instead of from when something was superseded."""
    original = collection.plan

    def plan(listing: Any, known: Any, landed_s: Any, graces: Any) -> list[str]:
        *past, newest = known.checkpoints or (None,)
        superseded = {key for one in past for key in (one.manifest, *one.objects)}
        needed = set() if newest is None else {newest.manifest, *newest.objects}
        latest_s = listing.server_s - graces.snapshot_s
        old = {info.key for info in listing.objects if info.modified_s <= latest_s}
        return sorted({*original(listing, known, landed_s, graces), *(superseded & old) - needed})

    patch.setattr(collection, "plan", plan)


@bug
def pending_state_is_kept_after_a_no(patch: pytest.MonkeyPatch) -> None:
    """A group that was refused leaves its documents in memory (rule 13)."""
    refused: list[bool] = [False]
    original_commit, original_settle = writer.Writer._commit, writer.Writer._settle_group

    async def commit(self: Any, *arguments: Any) -> Any:
        landed = await original_commit(self, *arguments)
        refused[0] = isinstance(landed, errors.ParqueDBError)
        return landed

    async def settle(self: Any, group: Any) -> None:
        await original_settle(self, group)
        if group.draft.events and refused[0]:
            for event in group.draft.events:
                if isinstance(event, Event) and event.id in self._state.active.rows:
                    _show(self._state, event)

    patch.setattr(writer.Writer, "_commit", commit)
    patch.setattr(writer.Writer, "_settle_group", settle)


@bug
def a_checkpoint_lands_before_its_manifest(patch: pytest.MonkeyPatch) -> None:
    original = Committer.store

    async def store(self: Any, key: str, data: bytes) -> None:
        if "/manifest/" in key:
            storing = asyncio.ensure_future(original(self, key, data))
            storing.add_done_callback(lambda done: done.cancelled() or done.exception())
        else:
            await original(self, key, data)

    patch.setattr(Committer, "store", store)


@bug
def the_tail_is_found_by_probing(patch: pytest.MonkeyPatch) -> None:
    """From the newest manifest on, entry by entry (rule 18)."""
    original = opening.Opener._read

    async def read(self: Any, log_page: Any, manifest_page: Any) -> Any:
        start = max((through_of(info.key) for info in manifest_page.objects), default=0)
        tail = start
        while await self._get(self._prefix + entry_key(tail + 1)) is not None:
            tail += 1
        reached = tuple(info for info in log_page.objects if position_of(info.key) <= tail)
        if tail > start and reached:
            log_page = replace(log_page, objects=reached)
        return await original(self, log_page, manifest_page)

    patch.setattr(opening.Opener, "_read", read)


@bug
def orphans_of_our_own_epoch_are_collected(patch: pytest.MonkeyPatch) -> None:
    """They may be about to land (rule 21)."""
    original = collection.plan

    def plan(listing: Any, known: Any, landed_s: Any, graces: Any) -> list[str]:
        doomed = original(listing, known, landed_s, graces)
        if not known.checkpoints:
            return doomed
        kept = {key for one in known.checkpoints for key in (one.manifest, *one.objects)}
        orphans = {info.key for info in listing.objects if not info.key.startswith("log/")} - kept - known.pins
        return sorted({*doomed, *orphans})

    patch.setattr(collection, "plan", plan)


@bug
def updates_of_a_run_do_not_see_each_other(patch: pytest.MonkeyPatch) -> None:
    original = UpdateRun._changed

    def changed(self: Any, draft: Any, change: Any, shape: Any, _found: Any) -> Any:
        return original(self, draft, change, shape, draft.current(change.id))

    patch.setattr(UpdateRun, "_changed", changed)


@bug
def what_a_run_answered_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sessions, "record_joined", lambda self, *_: None)
