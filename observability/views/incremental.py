"""A view that counts each row of a collection exactly once, at a cost in proportion to what is new.

    refresh    state at seq s --> changes(after=s) --> deltas per group --> one batch: groups and state at seq t
    rebuild    announce a new generation --> count a snapshot at seq t --> one replacement: that generation, at seq t

Rows are facts: a row counts when it is created, and what becomes of it later changes nothing (a rebuild counts what is
there then). A duplicate is refused by the collection, so there is no change to count; a late row is a change like any
other and goes into the group of its own time. Nothing but the state says how far the view is, and it moves in the same
batch as the groups: whoever is killed at any point leaves a state from which the next refresh goes on.

Retention moves a *floor* (a document of the source, so it has its place among the changes) before it deletes rows.
Groups that begin before the floor are sealed: a rebuild takes them over, since their rows may be gone.
"""

import contextlib
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, Generic, TypeVar

from parquedb.errors import (
    AlreadyExistsError,
    ConfigurationError,
    ErrorCode,
    EventNotFoundError,
    OutcomeUnknownError,
    ValidationError,
    VersionConflictError,
    ViewError,
)
from parquedb.observability.views.database import Change, Collection, Row, each_page
from parquedb.observability.views.groups import (
    WRITE_GROUPS,
    Aggregation,
    GroupStore,
    Key,
    ViewState,
    lost_race,
    new_generation,
)
from parquedb.steps import Steps, some_of

FLOOR_ID: Final = "retention-floor"
"""Document of the source whose `floor` says from when on rows are kept."""

ATTEMPTS_MAX: Final = 20
GROUPS_MAX: Final = 200_000
"""Groups that a rebuild holds in memory."""

_STEP_CHANGES: Final = 10_000
_PAGE: Final = 1_000
_PAUSE_S: Final = 0.01

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        seq: Of the last change of the source that the view holds now.
        rows_read: Documents and changes of the source that were looked at.
        rows_counted: Rows among them that were added to groups.
        rows_expired: Rows that were too old to be counted.
        groups_read: Documents of the view that were read.
        groups_written: Documents of the view that were written, the state included.
        rebuilt: Whether it counted everything anew.
        duration_s: Seconds it took.
    """

    seq: int
    rows_read: int = 0
    rows_counted: int = 0
    rows_expired: int = 0
    groups_read: int = 0
    groups_written: int = 0
    rebuilt: bool = False
    duration_s: float = 0.0


class _OvertakenError(Exception):
    """What this refresh was about to store is no longer what the source or the view asks for: it starts over."""


class IncrementalView(Generic[A]):
    """A view of one collection, by steps that either client carries out. Any number of processes may refresh it."""

    def __init__(self, source: Collection, documents: Collection, aggregation: Aggregation[A]) -> None:
        """Describe a view; nothing is read or written by this.

        Args:
            source: Where the rows are.
            documents: Where the view is; its namespace holds nothing else.
            aggregation: What is made of the rows.
        """
        self._source = source
        self._aggregation = aggregation
        self._store = GroupStore(documents, aggregation)
        self._name = documents.namespace

    def refresh(self, *, full: bool = False) -> Steps[Refreshed]:
        """Count what is new, or everything anew when `full`, when there is no view yet, or when changes were forgotten.

        Raises:
            ViewError: other processes kept changing the view, or the source is not the one it was made from.
        """
        started_s = time.monotonic()
        for attempt in range(ATTEMPTS_MAX):
            try:
                done = yield from self._rebuild() if full else self._catch_up()
            except (VersionConflictError, AlreadyExistsError, OutcomeUnknownError, _OvertakenError):
                # Whatever has or has not been stored: the state tells, so it begins there again.
                time.sleep(random.uniform(0, _PAUSE_S * attempt))  # noqa: S311 - jitter
            else:
                return replace(done, duration_s=time.monotonic() - started_s)
        raise lost_race(self._name)

    def read(self, condition: Row | None = None) -> Steps[tuple[ViewState | None, list[tuple[Key, A]]]]:
        """Return how far the view is, and its groups that match a filter, all as of one moment."""
        return self._store.read_valid(condition)

    def _catch_up(self) -> Steps[Refreshed]:
        state = yield from self._store.state()
        if state is None or not state.generation:
            return (yield from self._rebuild())
        try:
            return (yield from self._count_changes(state))
        except EventNotFoundError:
            return (yield from self._rebuild())
        except ValidationError as error:
            if error.field != "after":
                raise
            raise ViewError(
                f"the view {self._name!r} is ahead of its source {self._source.namespace!r}, which is not the one it "
                "was made from: use another namespace for the view",
                code=ErrorCode.VIEW_REFRESH_ERROR,
            ) from error

    def _count_changes(self, state: ViewState) -> Steps[Refreshed]:
        done = Refreshed(state.seq)
        fold = _Fold(self._aggregation, state.floor)
        seq = state.seq
        changes = self._source.changes(after=state.seq, follow=False)
        while some := (yield partial(some_of, changes, _PAGE)):
            for change in some:
                fold.change(change)
                seq = change.seq
                if fold.read >= _STEP_CHANGES or len(fold.groups) >= WRITE_GROUPS:
                    state, done = yield from self._store_step(state, seq, fold, done)
                    fold = _Fold(self._aggregation, state.floor)
        if seq > state.seq:
            state, done = yield from self._store_step(state, seq, fold, done)
        yield from self._clean(state)
        return done

    def _store_step(
        self, state: ViewState, seq: int, fold: "_Fold[A]", done: Refreshed
    ) -> Steps[tuple[ViewState, Refreshed]]:
        ahead = replace(state, seq=seq, floor=fold.floor)
        stored, read, written = yield from self._store.add(ahead, fold.groups)
        return stored, replace(
            done,
            seq=seq,
            rows_read=done.rows_read + fold.read,
            rows_counted=done.rows_counted + fold.counted,
            rows_expired=done.rows_expired + fold.expired,
            groups_read=done.groups_read + read,
            groups_written=done.groups_written + written,
        )

    def _rebuild(self) -> Steps[Refreshed]:
        before, sealed, seen = yield from self._begin_rebuild()
        fold = _Fold(self._aggregation, before.floor)
        seq = yield from self._count_rows(fold, but_sealed=bool(before.generation))
        if fold.found_floor != before.floor:
            # Retention has moved on, and may have deleted rows of groups that were not taken over.
            raise _OvertakenError
        if before.generation and before.floor is not None:
            # What has come since the sealed groups were read; the others have it from the snapshot.
            with contextlib.suppress(EventNotFoundError):
                changes = self._source.changes(after=before.seq, follow=False)
                while fold.follow(sealed, (yield partial(some_of, changes, _PAGE)), seq):
                    pass
        fold.groups.update(sealed)
        written = yield from self._store.write(before.building, fold.groups)
        state = yield from self._switch(before.building, seq, before.floor)
        yield from self._clean(state)
        return Refreshed(seq, fold.read, fold.counted, fold.expired, seen, written + 2, rebuilt=True)

    def _begin_rebuild(self) -> Steps[tuple[ViewState, dict[Key, A], int]]:
        """Announce a generation; return the state as of which the sealed groups were read, these, and how many."""
        building = new_generation()
        state = yield from self._store.state()
        if state is None:
            floor = yield from self._stored_floor()
            state = ViewState(0, "", self._aggregation.definition, floor, building)
            return (yield from self._store.create_state(state)), {}, 0
        sealed: dict[Key, A] = {}
        if state.generation:
            try:
                yield from self._count_changes(state)
                state = (yield from self._store.state()) or state
            except EventNotFoundError:
                # Sealed groups will lack what was forgotten before it was counted; nobody knows it any more.
                state = replace(state, floor=(yield from self._stored_floor()))
            if state.floor is not None:
                sealed = yield from self._store.read(state.generation, {"period": {"$lt": state.floor}})
        else:
            state = replace(state, floor=(yield from self._stored_floor()))
        overtaken = (state.building,) if state.building else ()
        # Refused if the groups have changed since they were read.
        announced = replace(state, building=building, retired=(*state.retired, *overtaken))
        return (yield from self._store.replace_state(announced)), sealed, len(sealed)

    def _stored_floor(self) -> Steps[datetime | None]:
        return ((yield partial(self._source.get, FLOOR_ID)) or {}).get("floor")

    def _switch(self, building: str, seq: int, floor: datetime | None) -> Steps[ViewState]:
        """Make a generation the valid one, unless another rebuild has begun meanwhile and will do that."""
        for _ in range(ATTEMPTS_MAX):
            state = yield from self._store.state()
            if state is not None and state.generation == building:
                return state
            if state is None or state.building != building:
                break
            old = (state.generation,) if state.generation else ()
            valid = replace(
                state, seq=seq, floor=floor, generation=building, building="", retired=(*state.retired, *old)
            )
            with contextlib.suppress(VersionConflictError):
                return (yield from self._store.replace_state(valid))
        # Whoever overtook has deleted what was there then; what has been written since nobody else knows of.
        yield from self._store.delete((building,))
        raise _OvertakenError

    def _clean(self, state: ViewState) -> Steps[None]:
        if state.retired:
            yield from self._store.delete(state.retired)
            # Another process may have cleaned up as well, or have work of its own in the state: next time then.
            with contextlib.suppress(VersionConflictError):
                yield from self._store.replace_state(replace(state, retired=()))

    def _count_rows(self, fold: "_Fold[A]", *, but_sealed: bool) -> Steps[int]:
        """Count all documents of the source as of one seq, which is returned."""
        count = partial(fold.rows, but_sealed=but_sealed)
        try:
            snapshot = yield self._source.snapshot
        except ConfigurationError:  # Only the owner can read this storage: it looks back for every page instead.
            yield partial(self._source.get, FLOOR_ID)  # Opens the namespace, without which there are no counters.
            seq: int = (yield self._source.stats)["seq"]
            if seq:
                yield from each_page(self._source, count, None, limit=_PAGE, as_of=seq)
            return seq
        with snapshot as held:
            count(held.documents())
            seq = held.seq
        return seq


class _Fold(Generic[A]):
    """Adds rows to groups."""

    def __init__(self, aggregation: Aggregation[A], floor: datetime | None) -> None:
        self._aggregation = aggregation
        self.groups: dict[Key, A] = {}
        self.floor = floor
        self.found_floor: datetime | None = None
        self.read = self.counted = self.expired = 0

    def change(self, change: Change) -> None:
        """Count what a change brings."""
        self.read += 1
        if change.id == FLOOR_ID and change.document is not None:
            self.floor = change.document.get("floor")
        elif change.action == "create" and change.document is not None:
            at = self._aggregation.time(change.document)
            if at is not None and self.floor is not None and at < self.floor:
                self.expired += 1
            elif at is not None:
                self._add(self.groups, self._aggregation.key(change.document), change.document)

    def rows(self, rows: Iterable[Row], *, but_sealed: bool) -> None:
        """Count rows that are not too old; `but_sealed` leaves out those of groups that are taken over.

        Raises:
            ViewError: there are too many groups.
        """
        aggregation, floor = self._aggregation, self.floor
        for row in rows:
            self.read += 1
            at = aggregation.time(row)
            if at is None:
                if row["$id"].rpartition("/")[2] == FLOOR_ID:
                    self.found_floor = row.get("floor")
                continue
            key = aggregation.key(row)
            if floor is not None and (aggregation.period(key) if but_sealed else at) < floor:
                self.expired += 1
            else:
                self._add(self.groups, key, row)
            if len(self.groups) > GROUPS_MAX:
                raise ViewError(f"a view may have {GROUPS_MAX} groups, and this one has more: choose longer periods")

    def follow(self, sealed: dict[Key, A], changes: Sequence[Change], seq: int) -> bool:
        """Bring sealed groups up to a seq; return whether there may be more."""
        for change in changes:
            if change.seq > seq:
                return False
            if change.action == "create" and change.document is not None:
                at = self._aggregation.time(change.document)
                if at is None or self.floor is None or at < self.floor:
                    continue
                key = self._aggregation.key(change.document)
                if self._aggregation.period(key) < self.floor:
                    self._add(sealed, key, change.document)
        return bool(changes)

    def _add(self, groups: dict[Key, A], key: Key, row: Row) -> None:
        aggregate = groups.get(key)
        if aggregate is None:
            aggregate = groups[key] = self._aggregation.start()
        self._aggregation.add(aggregate, row)
        self.counted += 1
