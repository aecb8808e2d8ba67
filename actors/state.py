"""What is committed in one namespace, in memory: changed only by entries that have landed, without awaiting.

Invariants:
    N1. The state is the fold of entries 1 to `tail`; pending writes never touch it.
    N2. `next_seq` is one more than the seq of the last event; there are no gaps.
    N3. A document that exists is in exactly one place: `active`, else `frozen`, else one live row of one data file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from pyroaring import BitMap

from parquedb.actors.document_cache import DocumentCache
from parquedb.actors.memtable import Memtable
from parquedb.actors.operations import SessionRequest
from parquedb.actors.request_ids import RequestIds
from parquedb.actors.schemas import SchemaState
from parquedb.actors.sessions import Receipt, Sessions
from parquedb.settings import EngineSettings
from parquedb.storage import deletions
from parquedb.storage.bulk import Bulk, decode_bulk, with_found
from parquedb.storage.chain import Chain
from parquedb.storage.collection import least_needed
from parquedb.storage.columns import ColumnRegistry
from parquedb.storage.data_file import Built, DataFile
from parquedb.storage.data_files import DataFiles, IndexNotLoaded, Location
from parquedb.storage.events import Action, Created, Event, RequestRecord, answer, decode_packed
from parquedb.storage.history_segment import decode_segment
from parquedb.storage.log import BackPointer, Kind, LogEntry, entry_key
from parquedb.storage.manifest import History, Segment
from parquedb.storage.moved import Moved

CHECKPOINTS_MAX = 64
"""Landed checkpoints remembered for the collector; between them neighbours are merged."""

PAST_MAX = 32
"""Landed checkpoints that a manifest names."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLVE_AT_ONCE = 4096


@dataclass(slots=True)
class Recent:
    """A log entry that no manifest has folded yet.

    Attributes:
        position: In the log.
        kind: One of `Kind`.
        data: As stored.
        first_seq: Of its first event.
        next_seq: What the first event after it takes.
        time_us: Its log time, Unix microseconds.
    """

    position: int
    kind: str
    data: bytes
    first_seq: int
    next_seq: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint known to have landed, for the collector.

    Attributes:
        position: Of its entry.
        through: Last position its manifest folds.
        manifest: Key of the manifest, relative to the namespace.
        objects: Keys the manifest refers to, relative to the namespace.
        log_time_us: Log time of entry `through`.
    """

    position: int
    through: int
    manifest: str
    objects: frozenset[str]
    log_time_us: int = 0


@dataclass(slots=True)
class Frozen:
    """Everything a manifest needs, taken at one moment without awaiting.

    Attributes:
        through: The tail at that moment; the fields below it belong to it.
        recent: The entries that the manifest folds.
        memtable: What the flush turns into Parquet; None for a checkpoint that only folds the log.
        request_ids: Segment of callers' ids recorded since the last one: bytes, newest log time, count.
        schemas: Wire form of the schemas.
    """

    through: int
    through_id: bytes
    next_seq: int
    log_time_us: int
    fences: tuple[int, ...]
    recent: list[Recent]
    memtable: Memtable | None
    sessions: Any
    request_ids: tuple[bytes, int, int] | None
    schemas: Any = None


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

    def apply(self, events: Sequence[Event | Created], entry: LogEntry, *, requests: bool = True) -> None:
        """Apply the events of an entry that has landed; with `requests`, also those that the events carry."""
        header = entry.header
        each = len(entry.body) // max(1, header.count)
        seq = header.first_seq
        for event in events:
            if isinstance(event, Created):
                self.active.put_created(event, seq)
                if requests:
                    request = SessionRequest(*event.request)
                    self.sessions.record_created(request, event, seq, self.tail, self.log_time_us)
                seq += len(event)
            else:
                if event.action == Action.SCHEMA:
                    self.registry = self.schemas.register(event).declared(self.registry)
                else:
                    self.active.put(event.id, event.document, seq, each, self._displaced)
                if event.encoded is None:
                    self.cache.forget(event.id)
                else:
                    self.cache.put(event.id, event.encoded)
                seq += 1

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
        places = _places(events)
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


def _places(events: Sequence[Event | Created]) -> dict[int, Event]:
    """Return the single events by their index in the entry."""
    places, at = {}, 0
    for event in events:
        if isinstance(event, Event):
            places[at] = event
        at += len(event) if isinstance(event, Created) else 1
    return places


def log_datetime(log_time_us: int) -> datetime:
    """Return a log time as a UTC datetime."""
    return _EPOCH + timedelta(microseconds=log_time_us)
