"""What is committed in one namespace, in memory: changed only by entries that have landed, without awaiting.

Invariants:
    N1. The state is the fold of entries 1 to `tail`; pending writes never touch it.
    N2. `next_seq` is one more than the seq of the last event; there are no gaps.
    N3. A document that exists is in exactly one place: `active`, else `frozen`, else one live row of one data file.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, repeat
from typing import Any

from pyroaring import BitMap

from parquedb.actors.requests.operations import SessionRequest
from parquedb.actors.state.document_cache import DocumentCache
from parquedb.actors.state.frames import Checkpoint, Frozen, Recent
from parquedb.actors.state.memtable import Memtable
from parquedb.actors.state.request_ids import RequestIds
from parquedb.actors.state.sessions import Receipt, Sessions
from parquedb.actors.writes.schemas import SchemaState
from parquedb.settings import EngineSettings
from parquedb.storage.bulk.load_entry import Bulk, decode_bulk, with_found
from parquedb.storage.compaction.moved import Moved
from parquedb.storage.files import deletions
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import Built, DataFile
from parquedb.storage.files.data_files import DataFiles, IndexNotLoaded, Location
from parquedb.storage.history.segment import decode_segment
from parquedb.storage.log.chain import Chain
from parquedb.storage.log.collection import least_needed
from parquedb.storage.log.entry import BackPointer, Header, Kind, LogEntry, entry_key
from parquedb.storage.log.events import (
    Action,
    Created,
    Event,
    Joined,
    RequestRecord,
    Updated,
    answer,
    decode_packed,
    single_events,
)
from parquedb.storage.log.manifest import History, Segment

CHECKPOINTS_MAX = 64
"""Landed checkpoints remembered for the collector; between them neighbours are merged."""

PAST_MAX = 32
"""Landed checkpoints that a manifest names."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLVE_AT_ONCE = 4096


@dataclass(slots=True)
class NamespaceState:
    """See the module's invariants. Rebuilt from an opened chain by `restore`, then moved on by `apply`."""

    namespace: str
    prefix: str
    settings: EngineSettings
    files: DataFiles
    sessions: Sessions
    request_ids: RequestIds
    cache: DocumentCache
    incarnation: bytes = b""
    epoch: int = 0
    tail: int = 0
    tail_id: bytes = b""
    next_seq: int = 1
    log_time_us: int = 0
    fences: list[int] = field(default_factory=list)
    base: BackPointer | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list)
    past: tuple[tuple[str, int], ...] = ()
    """Checkpoints that have landed, the newest included; what the next manifest says of them (`Manifest.past`)."""
    inherited: tuple[str, ...] = ()
    """Manifests of checkpoints before the one this owner started from, for the collector."""
    registry: ColumnRegistry = field(default_factory=ColumnRegistry.empty)
    dead: dict[str, BitMap] = field(default_factory=dict)
    tails: tuple[Segment, ...] = ()
    history: History = field(default_factory=History)
    id_segments: tuple[Segment, ...] = ()
    active: Memtable = field(default_factory=Memtable)
    frozen: Memtable | None = None
    recent: list[Recent] = field(default_factory=list)
    recent_bytes: int = 0
    schemas: SchemaState = field(default_factory=SchemaState)

    def restore(self, chain: Chain, segments: dict[str, bytes]) -> None:
        """Become the state at the end of `chain`.

        Raises:
            CorruptionError: a segment or a body cannot be read.
        """
        manifest = chain.manifest
        if manifest is not None and chain.base is not None:
            self.registry = ColumnRegistry.from_wire(manifest.registry)
            self.schemas.restore(manifest.schemas)
            for wire in manifest.files:
                file = DataFile.from_wire(wire)
                dead = manifest.dead.get(file.key)
                if dead is not None:
                    self.dead[file.key] = deletions.decode(dead, key=self.prefix + file.key, rows=file.rows)
                # Two bitmaps of one file: `self.dead` is the manifest's, the other one grows with every change.
                self.files.add(file, dead=self.dead[file.key].copy() if dead is not None else None)
            self.tails, self.history, self.id_segments = manifest.tails, manifest.history, manifest.request_ids
            for segment in manifest.tails:
                for entry in decode_segment(self.prefix + segment.key, segment, segments[segment.key]):
                    # Their requests are in the manifest's session table and id segments already.
                    self._replay(entry, requests=False)
            self.sessions.restore(manifest.sessions["sessions"])
            self.request_ids.floor_us = manifest.sessions["ids_floor_us"]
            for segment in manifest.request_ids:
                self.request_ids.load(self.prefix + segment.key, segments[segment.key])
            self.checkpoints = [
                Checkpoint(
                    chain.base.position,
                    manifest.through,
                    chain.base.manifest,
                    manifest.objects,
                    manifest.log_time_us,
                )
            ]
            self.inherited = tuple(key for key, _ in manifest.past)
            self.past = (*manifest.past, (chain.base.manifest, manifest.log_time_us))
            self.base = chain.base
            self.fences = list(manifest.fences)
            self.incarnation, self.tail, self.tail_id = manifest.incarnation, manifest.through, manifest.through_id
            self.next_seq, self.log_time_us = manifest.next_seq, manifest.log_time_us
        for entry, data in zip(chain.entries, chain.entry_bytes, strict=True):
            self.advance(entry, data)
            self._replay(entry, requests=True)
        # A checkpoint entry in the tail names this base as well; it is the newest either way.
        self.base = chain.base

    def next_entry(  # noqa: PLR0913 - an entry is all of this
        self, kind: Kind, body: bytes, count: int, base: BackPointer | None, *, commit_id: bytes, now: datetime
    ) -> LogEntry:
        """Return the entry that would stand at the end of the log; `count` events are in its body."""
        header = Header(
            incarnation=self.incarnation,
            position=self.tail + 1,
            commit_id=commit_id,
            previous=self.tail_id,
            epoch=self.epoch,
            kind=kind,
            first_seq=self.next_seq,
            count=count,
            log_time_us=self.now_us(now),
            base=base,
        )
        return LogEntry(header, body)

    def advance(self, entry: LogEntry, data: bytes) -> None:
        """Move the end of the log onto an entry that has landed; its events are applied separately."""
        header = entry.header
        self.tail, self.tail_id, self.epoch = header.position, header.commit_id, header.epoch
        self.incarnation, self.log_time_us = header.incarnation, header.log_time_us
        self.next_seq = entry.next_seq
        self.base = header.base
        if header.kind == Kind.OPEN:
            self.fences.append(header.position)
        self.recent.append(
            Recent(header.position, header.kind, data, header.first_seq, entry.next_seq, header.log_time_us)
        )
        self.recent_bytes += len(data)

    def apply(self, events: Sequence[Event | Joined], entry: LogEntry, *, requests: bool = True) -> None:
        """Apply the events of an entry that has landed; with `requests`, also those that the events carry."""
        header = entry.header
        each = len(entry.body) // max(1, header.count)
        seq = header.first_seq
        for event in events:
            if isinstance(event, Event):
                self._apply_one(event, seq, each)
                seq += 1
                continue
            if isinstance(event, Created):
                self.active.put_created(event, seq)
            else:
                self._apply_updated(event, seq, each)
            if requests:
                request = SessionRequest(*event.request)
                self.sessions.record_joined(request, event, seq, self.tail, self.log_time_us)
            seq += len(event)

    def _apply_one(self, event: Event, seq: int, size: int) -> None:
        if event.action == Action.SCHEMA:
            self.registry = self.schemas.register(event).declared(self.registry)
        else:
            self.active.put(event.id, event.document, seq, size, self._displaced)
        self.cache.renew(event.id, event.encoded)

    def _apply_updated(self, updated: Updated, seq: int, size: int) -> None:
        active, renew = self.active, self.cache.renew
        places = self._displaced_of_many([id_ for id_ in updated.ids if id_ not in active.rows])
        changes = zip(updated.ids, updated.documents, updated.encoded or repeat(None), strict=False)
        for at, (id_, document, encoded) in enumerate(changes, seq):
            active.put(id_, document, at, size, places.__getitem__)
            renew(id_, encoded)

    def load(self, bulk: Bulk, entry: LogEntry) -> None:
        """Take in the files of a bulk entry that has landed. No memtable knows any of their ids."""
        for file in bulk.placed(entry.header.first_seq):
            self.files.add(file)
        self.registry = with_found(self.registry, bulk.columns)
        for record in bulk.records:
            self.settle(record, Receipt(record.kind, entry.next_seq - 1, record.value))

    def settle(self, record: RequestRecord, receipt: Receipt) -> None:
        """Remember what a request of the newest entry came to."""
        request = record.request
        if isinstance(request, str):
            self.request_ids.record(request, receipt, self.log_time_us)
        elif request is not None:
            self.sessions.record(SessionRequest(*request), receipt, self.tail, self.log_time_us)

    def _replay(self, entry: LogEntry, *, requests: bool) -> None:
        header = entry.header
        key = self.prefix + entry_key(header.position)
        if header.kind == Kind.BULK and requests:
            # Otherwise the manifest lists its files already.
            self.load(decode_bulk(key, entry.body), entry)
        if header.kind != Kind.WRITE:
            return
        events, records = decode_packed(key, entry.body)
        self.apply(events, entry, requests=requests)
        if not requests:
            return
        places = single_events(events)
        for record in records:
            mine = [places[at] for at in range(record.first_event, record.first_event + record.events)]
            seq = header.first_seq + record.first_event + len(mine) - 1
            self.settle(record, Receipt(record.kind, seq, answer(record.kind, mine, record.value)))

    def _displaced(self, id_: str) -> tuple[Location | None, bool]:
        """Find, and mark dead, the data file row that a newly changed document replaces."""
        if self.frozen is not None and id_ in self.frozen.rows:
            # The row that counts does not exist yet: the flush under way will tell (`flushed`).
            return None, True
        try:
            location = self.files.locate_now(id_)
        except IndexNotLoaded:
            return None, False
        if location is not None:
            self.files.kill(location)
        return location, True

    def _displaced_of_many(self, ids: Collection[str]) -> dict[str, tuple[Location | None, bool]]:
        """Do what `_displaced` does, for many at once."""
        frozen = () if self.frozen is None else self.frozen.rows
        found = self.files.locate_many_now(id_ for id_ in ids if id_ not in frozen)
        for location in found.values():
            if location is not None:
                self.files.kill(location)
        return {id_: (found.get(id_), id_ in found or id_ in frozen) for id_ in ids}

    async def resolve(self, memtable: Memtable) -> None:
        """Find the data file rows that replayed documents replace; queries and flushes need to know them."""
        while memtable.unresolved:
            # In pieces: the files remember only so many of the ids they have looked up.
            wanted = list(islice(memtable.unresolved, _RESOLVE_AT_ONCE))
            await self.files.load_index(wanted)
            for id_ in wanted:
                if id_ not in memtable.unresolved:
                    continue
                try:
                    location = self.files.locate_now(id_)
                except IndexNotLoaded:
                    continue  # Somebody else's look-ups pushed it out meanwhile; the next round asks again.
                if location is not None:
                    self.files.kill(location)
                memtable.resolve(id_, location)

    def in_memory(self, id_: str) -> tuple[bool, dict[str, Any] | None]:
        """Return whether the memtables decide about a document, and its state if they do."""
        row = self.active.rows.get(id_)
        if row is None and self.frozen is not None:
            row = self.frozen.rows.get(id_)
        return (False, None) if row is None else (True, row.document)

    def rows_in_memory(self) -> list[tuple[dict[str, Any], int]]:
        """Return the documents that are in no live row of a data file, each with the seq of its last change."""
        rows = list(self.active.rows.values())
        if self.frozen is not None:
            rows += [row for id_, row in self.frozen.rows.items() if id_ not in self.active.rows]
        return [(document, row.seq) for row in rows if (document := row.document) is not None]

    def freeze(self, *, flush: bool) -> Frozen:
        """Take what a manifest as of now needs; with `flush`, also set the memtable aside for it.

        There is never more than one frozen memtable: the caller runs one checkpoint at a time.
        """
        # Segments older than the window leave the manifest, so the floor must be above them.
        self.request_ids.expire(self.log_time_us)
        if flush:
            self.frozen, self.active = self.active, Memtable()
        return Frozen(
            through=self.tail,
            through_id=self.tail_id,
            next_seq=self.next_seq,
            log_time_us=self.log_time_us,
            fences=tuple(self.fences),
            recent=list(self.recent),
            memtable=self.frozen if flush else None,
            sessions={"sessions": self.sessions.to_wire(), "ids_floor_us": self.request_ids.floor_us},
            request_ids=self.request_ids.take_fresh(),
            schemas=self.schemas.registered.to_wire(),
        )

    def folded(self, frame: Frozen, checkpoint: Checkpoint, tails: tuple[Segment, ...]) -> None:
        """Take over a checkpoint that has landed: what it folded is no longer recent."""
        self.recent = [entry for entry in self.recent if entry.position > frame.through]
        self.recent_bytes = sum(len(entry.data) for entry in self.recent)
        self.tails = tails
        self.checkpoints.append(checkpoint)
        if len(self.checkpoints) > CHECKPOINTS_MAX:
            self._forget_one()
        self.past = (*self.past, (checkpoint.manifest, checkpoint.log_time_us))
        grace_us = int(self.settings.snapshot_grace_s * 1_000_000)
        while len(self.past) > 2 and self.past[1][1] < self.log_time_us - 2 * grace_us:  # noqa: PLR2004 - one is old
            self.past = self.past[1:]
        if len(self.past) > PAST_MAX:
            at = least_needed([log_time_us for _, log_time_us in self.past])
            self.past = (*self.past[:at], *self.past[at + 1 :])

    def _forget_one(self) -> None:
        """Let the checkpoint before the least needed one stand for both: objects are kept longer, never shorter."""
        at = least_needed([checkpoint.log_time_us for checkpoint in self.checkpoints])
        gone = self.checkpoints.pop(at)
        kept = self.checkpoints[at - 1]
        self.checkpoints[at - 1] = replace(kept, objects=kept.objects | gone.objects | {gone.manifest})

    def flushed(self, locations: dict[str, Location], dead: dict[str, BitMap], registry: ColumnRegistry) -> None:
        """Take over a flush that has landed; the new file is already among `files`.

        Args:
            locations: Where the flushed documents are that changed again meanwhile.
            dead: The deletion vectors that the manifest holds.
            registry: The columns that the manifest holds.
        """
        # A schema may have been registered, or files loaded in bulk, while the flush ran with the columns from before.
        registry = with_found(self.schemas.declared(registry), self.registry.to_wire())
        self.dead, self.registry, self.frozen = dead, registry, None
        for id_, location in locations.items():
            # Its flushed row is already superseded.
            self.files.kill(location)
            self.active.resolve(id_, location)

    def replaced(self, moved: Moved, built: Sequence[Built], dead: dict[str, BitMap]) -> None:
        """Take over merged files whose checkpoint has landed. No memtable is frozen.

        Args:
            moved: Where the rows of the merged files went.
            built: The new files.
            dead: The deletion vectors that the manifest holds.
        """
        self.dead = dead
        self.files.replace(moved, built)
        for row in self.active.rows.values():
            if row.location is not None and row.location.file in moved.ranks:
                row.location = moved.location(row.location)

    def now_us(self, clock_now: datetime) -> int:
        """Return the log time of an entry made now: the clock, never less than the last entry's."""
        return max(self.log_time_us, (clock_now - _EPOCH) // timedelta(microseconds=1))


def log_datetime(log_time_us: int) -> datetime:
    """Return a log time as a UTC datetime."""
    return _EPOCH + timedelta(microseconds=log_time_us)
