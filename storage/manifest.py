"""The manifest: everything that is true of a namespace as of one committed position.

Written once under a name of its own, it becomes real when a checkpoint entry names it (rules 4 and 5).
Format, version 1: `PQM1`, msgpack map (`parquedb.documents.codec`), XXH3-128 of all bytes before it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import xxhash

from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError
from parquedb.storage.log import descending

MAGIC: Final = b"PQM1"
_CHECKSUM_BYTES: Final = 16


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
class Manifest:
    """The state of a namespace as of `through`.

    Attributes:
        namespace: Its name, as given.
        incarnation: See `parquedb.storage.log.Header`.
        epoch: Epoch of the owner that wrote this.
        through: Last folded position.
        through_id: Commit id of entry `through`.
        next_seq: The seq that the first event above `through` takes.
        log_time_us: Log time of entry `through`.
        fences: Positions of all `open` entries up to `through`; their objects are never collected (rule 19).
        files: Wire forms of `parquedb.storage.data_file.DataFile`.
        dead: Data file key to deletion vector (`parquedb.storage.deletions`).
        registry: Wire form of `parquedb.storage.columns.ColumnRegistry`.
        tails: Folded log entries whose documents are in no data file yet, oldest first.
        sessions: Wire form of the session table (`parquedb.actors.sessions`).
        request_ids: Segments of callers' own request ids, oldest first.
        leases: `read_lease_s` and `log_grace_s` of the epoch that wrote this; they bind its successor.
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


def manifest_key(through: int, epoch: int, token: str) -> str:
    """Return the key of a manifest, relative to its namespace; later ones sort first (rule 1)."""
    return f"manifest/{descending(through)}-{epoch}-{token}"


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
    content = MAGIC + encode(asdict(manifest))
    return content + xxhash.xxh3_128_digest(content)


def decode_manifest(key: str, data: bytes) -> Manifest:
    """Check and take apart the bytes of a manifest.

    Raises:
        CorruptionError: truncated, checksum differs, or fields missing; names `key`.
    """
    content, found = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if content[:4] != MAGIC or xxhash.xxh3_128_digest(content) != found:
        raise CorruptionError(key=key, reason="not a manifest, cut short, or checksum differs")
    try:
        fields = decode(content[4:])
        for name in ("fences", "files"):
            fields[name] = tuple(fields[name])
        for name in ("tails", "request_ids"):
            fields[name] = tuple(Segment(**segment) for segment in fields[name])
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
