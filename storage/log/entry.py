"""The log: what an entry holds, how it is named, and how one is checked.

One namespace has one chain of entries numbered 1, 2, 3, ...; whoever creates entry n owns that position. Entries are
created once and never overwritten. Rule numbers are those of `docs/protocol.md`.

Format of an entry, version 1 (`parquedb.storage.formats`): `PQL1`, header length (4 bytes, little endian), header
(msgpack array, see `Header`), body, XXH3-128 of all bytes before it (16 bytes).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
import xxhash

from parquedb.errors import CorruptionError, NewerFormatError
from parquedb.storage.formats import CHECKSUM_BYTES, is_whole, refuse_newer

MAGIC: Final = b"PQL1"
GENESIS: Final = b"\0" * 16
"""What the first entry of a chain names as its predecessor."""

POSITION_MAX: Final = 10**20 - 1
UNFINISHED: Final = "log/0-unfinished-restore"
"""Key, relative to a namespace, of what a restore puts there first and takes away last: it sorts before every entry,
so whoever lists the log meets it, and as it is no entry, nobody opens what is not whole."""

_POSITION_DIGITS: Final = 20


class Kind(StrEnum):
    """What an entry is for."""

    OPEN = "open"
    WRITE = "write"
    BULK = "bulk"
    """Names data files full of new documents, instead of holding them (`parquedb.storage.bulk.load_entry`)."""
    CHECKPOINT = "checkpoint"
    CLOSE = "close"
    DROP = "drop"


KINDS: Final = frozenset(kind.value for kind in Kind)


class BackPointer(msgspec.Struct, array_like=True, frozen=True):
    """Names the newest checkpoint as of an entry (rule 2).

    Attributes:
        position: Position of the checkpoint entry.
        manifest: Key of its manifest, relative to the namespace.
        checksum: XXH3-64 of the manifest's bytes.
        through: The position whose state the manifest holds; entries above it are not folded.
    """

    position: int
    manifest: str
    checksum: int
    through: int


class Header(msgspec.Struct, array_like=True, frozen=True):
    """The facts of an entry that chain it to its neighbours.

    Attributes:
        incarnation: 16 random bytes chosen by the first `open`; tells a re-created namespace from its predecessor.
        position: n, from 1.
        commit_id: 16 random bytes; says whose entry this is when a reply was lost.
        previous: The commit id of entry n-1 (`GENESIS` for 1).
        epoch: The position of the owner's `open` entry (rule 3).
        kind: One of `Kind`.
        first_seq: The seq of the first event; what the next event would get when there is none.
        count: Events in the body.
        log_time_us: Unix microseconds, never less than the predecessor's.
        base: The newest checkpoint, this entry included; None before the first.
    """

    incarnation: bytes
    position: int
    commit_id: bytes
    previous: bytes
    epoch: int
    kind: str
    first_seq: int
    count: int
    log_time_us: int
    base: BackPointer | None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry: its header and its opaque body (`parquedb.storage.log.events` for writes)."""

    header: Header
    body: bytes

    @property
    def next_seq(self) -> int:
        """The seq that the first event after this entry takes."""
        return self.header.first_seq + self.header.count


_header_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(Header)


def descending(position: int) -> str:
    """Return the 20 digits that make later positions sort first in a listing (rule 1)."""
    return f"{POSITION_MAX - position:0{_POSITION_DIGITS}d}"


def entry_key(position: int) -> str:
    """Return the key of an entry, relative to its namespace."""
    return f"log/{descending(position)}"


def position_of(key: str) -> int:
    """Return the position that an entry's key (with or without prefix) stands for.

    Raises:
        CorruptionError: the key is not one of `entry_key`.
    """
    digits = key.rpartition("/")[2]
    if key.endswith(UNFINISHED):
        reason = "a restore is at work here or was broken off; run it again, or remove all that is stored of this"
        raise CorruptionError(key=key, reason=f"{reason} namespace")
    if len(digits) != _POSITION_DIGITS or not digits.isdigit():
        raise CorruptionError(key=key, reason="not the name of a log entry")
    return POSITION_MAX - int(digits)


def encode_entry(entry: LogEntry) -> bytes:
    """Return the bytes of an entry."""
    header = _header_encoder.encode(entry.header)
    content = b"".join((MAGIC, len(header).to_bytes(4, "little"), header, entry.body))
    return content + xxhash.xxh3_128_digest(content)


def decode_entry(key: str, data: bytes) -> LogEntry:
    """Check and take apart the bytes of an entry.

    Raises:
        CorruptionError: wrong magic, truncated, or the checksum differs; names `key`.
        NewerFormatError: a later version wrote it, and it says what this one does not know.
    """
    view = memoryview(data)
    if data[:4] != MAGIC and is_whole(data):
        refuse_newer(key, data, MAGIC)
    if len(data) < len(MAGIC) + 4 + CHECKSUM_BYTES or data[:4] != MAGIC:
        raise CorruptionError(key=key, reason="not a log entry, or cut short")
    if not is_whole(data):
        raise CorruptionError(key=key, reason="checksum differs")
    content = view[:-CHECKSUM_BYTES]
    header_end = 8 + int.from_bytes(view[4:8], "little")
    try:
        header = _header_decoder.decode(content[8:header_end])
    except msgspec.MsgspecError as error:
        raise CorruptionError(key=key, reason=f"header unreadable: {error}", cause=error) from error
    if header.kind not in KINDS:
        # To pass it over would be to lose what it says.
        raise NewerFormatError(key=key, reason=f"a log entry of the kind {header.kind!r}")
    return LogEntry(header, bytes(content[header_end:]))


def is_successor(  # noqa: PLR0913 - each is one condition of the rule
    entry: LogEntry, *, incarnation: bytes, previous: bytes, position: int, epoch: int, seq: int
) -> bool:
    """Whether `entry` may stand at `position` after a chain that ended as the other arguments say (rule 6).

    Args:
        entry: The candidate, its checksum already verified.
        incarnation: That of the chain; `GENESIS` while it is empty.
        previous: Commit id of the entry before.
        position: Where the candidate was found.
        epoch: Epoch of the entry before.
        seq: The next seq.
    """
    header = entry.header
    return (
        header.position == position
        and (header.incarnation == incarnation or previous == GENESIS)
        and header.previous == previous
        and header.epoch == (position if header.kind == Kind.OPEN else epoch)
        and header.first_seq == seq
    )
