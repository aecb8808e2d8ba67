"""The manifest: everything that is true of a namespace as of one committed position.

Written once under a name of its own, it becomes real when a checkpoint entry names it (rules 4 and 5).
Format, version 1 (`parquedb.storage.formats`): `PQM1`, msgpack map (`parquedb.documents.codec`), XXH3-128 of all bytes
before it. A field that a later version adds is left out while it has its default, so that earlier ones can read on.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import xxhash

from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError, NewerFormatError
from parquedb.storage.formats import CHECKSUM_BYTES, is_whole, refuse_newer
from parquedb.storage.log.entry import descending, position_of

MAGIC: Final = b"PQM1"


@dataclass(frozen=True, slots=True)
class Segment:
    """An object of folded log entries, or of request ids, that the manifest refers to.

    Attributes:
        key: Relative to the namespace.
        checksum: XXH3-64 of its bytes.
        newest_us: Log time of its newest content, Unix microseconds.
        count: Entries in it.
    """

    key: str
    checksum: int
    newest_us: int
    count: int


@dataclass(frozen=True, slots=True)
class HistorySegment(Segment):
    """A segment of write entries that can be read in parts (`parquedb.storage.history.segment`).

    Attributes:
        first_seq: Of its first event.
        next_seq: One more than the seq of its last event.
        first_us: Log time of its oldest entry, Unix microseconds.
        bytes: Size of the object.
        index_at: Where in it the index begins.
        index_checksum: XXH3-64 of the index.
        begins: Whether the kept history may begin here: what came before it lies in data files.
        files: Keys of data files that its entries name instead of holding documents.
    """

    first_seq: int
    next_seq: int
    first_us: int
    bytes: int
    index_at: int
    index_checksum: int
    begins: bool = False
    files: tuple[str, ...] = ()


def _segment(wire: Mapping[str, Any]) -> HistorySegment:
    return HistorySegment(**{**wire, "files": tuple(wire["files"])})


@dataclass(frozen=True, slots=True)
class PastFile:
    """A data file that a merge replaced, kept for superseded rows that the merge left out, or for entries that name it.

    Attributes:
        file: Wire form of `parquedb.storage.files.data_file.DataFile`.
        until: Those rows were superseded by, and those entries hold, events below this seq.
    """

    file: Any
    until: int


@dataclass(frozen=True, slots=True)
class History:
    """What is kept of the past.

    Attributes:
        segments: Without gaps, up to where `tails` begin; oldest first.
        files: Data files of the past, oldest first.
    """

    segments: tuple[HistorySegment, ...] = ()
    files: tuple[PastFile, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Keys of the objects, relative to the namespace."""
        return [*(segment.key for segment in self.segments), *(past.file["key"] for past in self.files)]

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "History":
        """Rebuild what a manifest says."""
        segments = tuple(_segment(segment) for segment in wire["segments"])
        return cls(segments, tuple(PastFile(**past) for past in wire["files"]))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The state of a namespace as of `through`.

    Attributes:
        namespace: Its name, as given.
        incarnation: See `parquedb.storage.log.entry.Header`.
        epoch: Epoch of the owner that wrote this.
        through: Last folded position.
        through_id: Commit id of entry `through`.
        next_seq: The seq that the first event above `through` takes.
        log_time_us: Log time of entry `through`.
        fences: Positions of all `open` entries up to `through`; their objects are never collected (rule 19).
        files: Wire forms of `parquedb.storage.files.data_file.DataFile`.
        dead: Data file key to deletion vector (`parquedb.storage.files.deletions`).
        registry: Wire form of `parquedb.storage.files.columns.ColumnRegistry`.
        tails: Folded log entries whose documents are in no data file yet, oldest first.
        sessions: Wire form of the session table (`parquedb.actors.state.sessions`).
        request_ids: Segments of callers' own request ids, oldest first.
        leases: `read_lease_s` and `log_grace_s` of the epoch that wrote this; they bind its successor.
        past: Some checkpoints that landed before this was written, the last one included, oldest first: key of the
            manifest and log time. They tell an owner that has just opened what has been superseded for how long.
        schemas: Wire form of the schemas (`parquedb.schemas.registered`); None for none.
        history: Folded entries from before `tails`, for whoever asks about the past.
    """

    namespace: str
    incarnation: bytes
    epoch: int
    through: int
    through_id: bytes
    next_seq: int
    log_time_us: int
    fences: tuple[int, ...] = ()
    files: tuple[Any, ...] = ()
    dead: dict[str, bytes] = field(default_factory=dict)
    registry: Any = None
    tails: tuple[Segment, ...] = ()
    sessions: Any = None
    request_ids: tuple[Segment, ...] = ()
    leases: dict[str, float] = field(default_factory=dict)
    past: tuple[tuple[str, int], ...] = ()
    schemas: Any = None
    history: History = History()

    @property
    def objects(self) -> frozenset[str]:
        """Keys of everything that this refers to, relative to the namespace."""
        segments = (segment.key for segment in (*self.tails, *self.request_ids))
        return frozenset([*segments, *self.history.keys, *(wire["key"] for wire in self.files)])


_FIELDS: Final = frozenset(each.name for each in dataclasses.fields(Manifest))


def manifest_key(through: int, epoch: int, token: str) -> str:
    """Return the key of a manifest, relative to its namespace; later ones sort first (rule 1)."""
    return f"manifest/{descending(through)}-{epoch}-{token}"


def through_of(key: str) -> int:
    """Return the last position that a manifest folds, from its key; relative or not."""
    return position_of(key.rpartition("/")[2].split("-")[0])


def object_epoch(key: str) -> int:
    """Return the epoch in the name of a manifest, data file or segment.

    Raises:
        CorruptionError: the name holds none.
    """
    parts = key.rpartition("/")[2].split("-")
    digits = parts[1] if "/manifest/" in f"/{key}" and len(parts) > 1 else parts[0]
    if not digits.isdigit():
        raise CorruptionError(key=key, reason="its name holds no epoch")
    return int(digits)


def object_key(folder: str, epoch: int, token: str, suffix: str = "") -> str:
    """Return the key of a data file or segment, relative to its namespace."""
    return f"{folder}/{epoch}-{token}{suffix}"


def checksum(data: bytes) -> int:
    """Return the checksum by which one object names another: XXH3-64."""
    return xxhash.xxh3_64_intdigest(data)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest."""
    wire = {each.name: getattr(manifest, each.name) for each in dataclasses.fields(manifest)}
    # `asdict` of the whole would copy every document that the session table holds, value by value.
    wire["tails"], wire["request_ids"] = _dicts(manifest.tails), _dicts(manifest.request_ids)
    history = manifest.history
    files = [{"file": past.file, "until": past.until} for past in history.files]
    wire["history"] = {"segments": _dicts(history.segments), "files": files}
    content = MAGIC + encode(wire)
    return content + xxhash.xxh3_128_digest(content)


def _dicts(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    return [asdict(segment) for segment in segments]


def decode_manifest(key: str, data: bytes) -> Manifest:
    """Check and take apart the bytes of a manifest.

    Raises:
        CorruptionError: truncated, checksum differs, or fields missing; names `key`.
        NewerFormatError: a later version wrote it, and it says what this one does not know.
    """
    whole = is_whole(data)
    if whole:
        refuse_newer(key, data, MAGIC)
    if not whole or data[: len(MAGIC)] != MAGIC:
        raise CorruptionError(key=key, reason="not a manifest, cut short, or checksum differs")
    try:
        fields = decode(memoryview(data)[len(MAGIC) : -CHECKSUM_BYTES])
        for name in ("fences", "files"):
            fields[name] = tuple(fields[name])
        fields["request_ids"] = tuple(Segment(**segment) for segment in fields["request_ids"])
        # Segments from before there was a history lack what it asks of them.
        fields["tails"] = tuple(_segment(wire) if "begins" in wire else Segment(**wire) for wire in fields["tails"])
        fields["history"] = History.from_wire(fields.get("history", {"segments": (), "files": ()}))
        fields["past"] = tuple((key, log_time_us) for key, log_time_us in fields.get("past", ()))
        if unknown := fields.keys() - _FIELDS:
            # The next manifest would be written without them.
            raise NewerFormatError(key=key, reason=f"a manifest with {', '.join(sorted(map(str, unknown)))}")
        return Manifest(**fields)
    except (CorruptionError, TypeError, KeyError, ValueError) as error:
        raise CorruptionError(key=key, reason=f"manifest unreadable: {error}", cause=error) from error


def verify_object(key: str, data: bytes, expected: int) -> bytes:
    """Return `data` if its XXH3-64 is `expected`.

    Raises:
        CorruptionError: it is not; names `key`.
    """
    if checksum(data) != expected:
        raise CorruptionError(key=key, reason=f"checksum differs ({len(data)} bytes read)")
    return data
