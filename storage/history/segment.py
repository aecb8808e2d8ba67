"""A history segment: folded log entries, compressed, with an index of the documents they touch.

Format, version 1: `PQH1`, blocks, index. A block is one zstd frame of whole log entries, each with its length (4 bytes,
little endian) in front. The index is msgpack `[blocks, hashes, owners]`: what each block holds (`Block`), the XXH3-64
of the bare ids that appear (8 bytes each, little endian, ascending) and the number of the block of each (4 bytes each).
The manifest knows where the index begins and its checksum, the index knows the blocks' and theirs, so that any part can
be read, and trusted, alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from parquedb.errors import CorruptionError
from parquedb.storage.bulk.load_entry import decode_bulk
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.id_index import Hashes, hash_ids
from parquedb.storage.formats import refuse_newer
from parquedb.storage.log.entry import Kind, LogEntry, decode_entry, entry_key
from parquedb.storage.log.events import Action, Event, decode_packed
from parquedb.storage.log.manifest import HistorySegment, Segment

MAGIC: Final = b"PQH1"
BLOCK_BYTES: Final = 256 * 1024
"""A block takes no more entries once it holds so many bytes before compression."""

_LENGTH_BYTES: Final = 4

Stored = tuple[LogEntry, bytes]
"""A log entry and the bytes it was stored as."""


class Block(msgspec.Struct, array_like=True, frozen=True):
    """One block of a segment.

    Attributes:
        start: Where in the object it begins.
        size: Bytes stored.
        raw: Bytes before compression.
        checksum: XXH3-64 of the bytes stored.
        first_seq: Of its first event.
        next_seq: One more than the seq of its last event.
        first_us: Log time of its first entry, Unix microseconds.
        files: Whether some entries name data files instead of holding documents, whose ids are not in the index.
    """

    start: int
    size: int
    raw: int
    checksum: int
    first_seq: int
    next_seq: int
    first_us: int
    files: bool = False


class _WireIndex(msgspec.Struct, array_like=True, frozen=True):
    blocks: list[Block]
    hashes: bytes
    owners: bytes


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """Where in a segment the events of a time, a seq or a document are.

    Attributes:
        blocks: In order of seq.
        hashes: XXH3-64 of ids, ascending.
        owners: The block that each is in.
    """

    blocks: tuple[Block, ...]
    hashes: Hashes
    owners: npt.NDArray[np.uint32]

    def holding(self, wanted: Hashes) -> list[int]:
        """Return the blocks that may hold events of documents with these hashes, ascending."""
        starts = self.hashes.searchsorted(wanted)
        stops = self.hashes.searchsorted(wanted, side="right")
        hits = np.flatnonzero(stops > starts)
        found = {int(self.owners[at]) for hit in hits for at in range(starts[hit], stops[hit])}
        return sorted(found.union(number for number, block in enumerate(self.blocks) if block.files))


def build_segment(key: str, entries: Sequence[Stored]) -> tuple[HistorySegment, bytes]:
    """Return a segment of write entries, given in order, and its description.

    Takes CPU time in proportion to the entries: run it in an executor.

    Raises:
        CorruptionError: the body of an entry cannot be read.
    """
    parts = _Parts()
    for group in _in_blocks(entries):
        raw = b"".join(part for _, data in group for part in (len(data).to_bytes(_LENGTH_BYTES, "little"), data))
        hashes = np.unique(hash_ids(list({id_ for entry, _ in group for id_ in _ids(entry)})))
        first, last = group[0][0], group[-1][0]
        named = any(entry.header.kind == Kind.BULK for entry, _ in group)
        parts.add_raw(raw, hashes, (first.header.first_seq, last.next_seq), first.header.log_time_us, files=named)
    files = tuple(file.key for entry, _ in entries for file in named_files(entry))
    return parts.finish(key, newest_us=entries[-1][0].header.log_time_us, count=len(entries), files=files)


def named_files(entry: LogEntry) -> list[DataFile]:
    """Return the data files that an entry names instead of holding documents, with the seqs of its events.

    Raises:
        CorruptionError: its body cannot be read.
    """
    header = entry.header
    if header.kind != Kind.BULK:
        return []
    return list(decode_bulk(entry_key(header.position), entry.body).placed(header.first_seq))


def join_segments(key: str, segments: Sequence[tuple[HistorySegment, bytes]]) -> tuple[HistorySegment, bytes]:
    """Return one segment in the place of neighbours, given in order with their objects.

    Blocks of a good size are copied as they are, small ones are joined. Run it in an executor.

    Raises:
        CorruptionError: a part cannot be read; names its object.
    """
    parts = _Parts()
    small: list[tuple[Block, bytes, Hashes]] = []

    def join_small() -> None:
        if small:
            first, last = small[0][0], small[-1][0]
            raw = b"".join(raw for _, raw, _ in small)
            hashes = np.unique(np.concatenate([hashes for _, _, hashes in small]))
            named = any(block.files for block, _, _ in small)
            parts.add_raw(raw, hashes, (first.first_seq, last.next_seq), first.first_us, files=named)
            small.clear()

    for segment, data in segments:
        index = decode_index(segment.key, segment, data[segment.index_at :])
        for number, block in enumerate(index.blocks):
            stored = data[block.start : block.start + block.size]
            hashes = index.hashes[index.owners == number]
            if block.raw >= BLOCK_BYTES // 2:
                join_small()
                parts.add_stored(block, stored, hashes)
                continue
            small.append((block, _raw(segment.key, block, stored), hashes))
            if sum(block.raw for block, _, _ in small) >= BLOCK_BYTES:
                join_small()
    join_small()
    last = segments[-1][0]
    files = tuple(key for segment, _ in segments for key in segment.files)
    count = sum(segment.count for segment, _ in segments)
    return parts.finish(key, newest_us=last.newest_us, count=count, files=files)


class _Parts:
    """A segment being put together."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._hashes: list[Hashes] = []
        self._parts = [MAGIC]
        self._at = len(MAGIC)

    def add_raw(self, raw: bytes, hashes: Hashes, seqs: tuple[int, int], first_us: int, *, files: bool) -> None:
        stored = pa.compress(raw, codec="zstd", asbytes=True)
        checksum = xxhash.xxh3_64_intdigest(stored)
        self.add_stored(Block(0, len(stored), len(raw), checksum, *seqs, first_us, files), stored, hashes)

    def add_stored(self, block: Block, stored: bytes, hashes: Hashes) -> None:
        self._blocks.append(msgspec.structs.replace(block, start=self._at))
        self._hashes.append(hashes)
        self._parts.append(stored)
        self._at += len(stored)

    def finish(self, key: str, *, newest_us: int, count: int, files: tuple[str, ...]) -> tuple[HistorySegment, bytes]:
        hashes = np.concatenate(self._hashes)
        owners = np.repeat(np.arange(len(self._hashes), dtype=np.uint32), list(map(len, self._hashes)))
        order = np.argsort(hashes, kind="stable")
        index = msgspec.msgpack.encode(
            _WireIndex(self._blocks, hashes[order].astype("<u8").tobytes(), owners[order].astype("<u4").tobytes())
        )
        data = b"".join((*self._parts, index))
        segment = HistorySegment(
            key=key,
            checksum=xxhash.xxh3_64_intdigest(data),
            newest_us=newest_us,
            count=count,
            first_seq=self._blocks[0].first_seq,
            next_seq=self._blocks[-1].next_seq,
            first_us=self._blocks[0].first_us,
            bytes=len(data),
            index_at=self._at,
            index_checksum=xxhash.xxh3_64_intdigest(index),
            files=files,
        )
        return segment, data


def decode_segment(key: str, segment: Segment, data: bytes) -> list[LogEntry]:
    """Return the entries of a whole segment, whose checksum has been verified.

    Args:
        key: Of the object, for errors.
        segment: What the manifest says of it; a plain one is from before segments were compressed.
        data: The object.

    Raises:
        CorruptionError: a part cannot be read; names `key`.
        NewerFormatError: a later version wrote it.
    """
    if not isinstance(segment, HistorySegment):
        return _entries(key, data)
    refuse_newer(key, data, MAGIC)
    index = decode_index(key, segment, data[segment.index_at :])
    return [
        entry
        for block in index.blocks
        for entry in decode_block(key, block, data[block.start : block.start + block.size])
    ]


def decode_index(key: str, segment: HistorySegment, data: bytes) -> SegmentIndex:
    """Check and read the index of a segment.

    Raises:
        CorruptionError: cut short, altered or unreadable; names `key`.
    """
    if xxhash.xxh3_64_intdigest(data) != segment.index_checksum:
        raise CorruptionError(key=key, reason=f"checksum of the index differs ({len(data)} bytes read)")
    try:
        wire = msgspec.msgpack.decode(data, type=_WireIndex)
        hashes, owners = np.frombuffer(wire.hashes, "<u8"), np.frombuffer(wire.owners, "<u4")
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptionError(key=key, reason=f"index unreadable: {error}", cause=error) from error
    return SegmentIndex(tuple(wire.blocks), hashes.astype(np.uint64), owners.astype(np.uint32))


def decode_block(key: str, block: Block, data: bytes) -> list[LogEntry]:
    """Check and read one block.

    Raises:
        CorruptionError: cut short, altered or unreadable; names `key`.
    """
    return _entries(key, _raw(key, block, data))


def _raw(key: str, block: Block, data: bytes) -> bytes:
    if xxhash.xxh3_64_intdigest(data) != block.checksum:
        raise CorruptionError(key=key, reason=f"checksum of the block at {block.start} differs")
    try:
        return pa.decompress(data, decompressed_size=block.raw, codec="zstd", asbytes=True)  # type: ignore[no-any-return]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptionError(key=key, reason=f"block at {block.start} unreadable: {error}", cause=error) from error


def _entries(key: str, data: bytes) -> list[LogEntry]:
    entries, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "little")
        entries.append(decode_entry(key, data[start:at]))
    return entries


def _in_blocks(entries: Iterable[Stored]) -> Iterator[list[Stored]]:
    block: list[Stored] = []
    size = 0
    for stored in entries:
        block.append(stored)
        size += len(stored[1])
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _ids(entry: LogEntry) -> Iterator[str]:
    if entry.header.kind != Kind.WRITE:
        return
    events, _ = decode_packed(entry_key(entry.header.position), entry.body)
    for event in events:
        if not isinstance(event, Event):
            yield from event.ids
        elif event.action != Action.SCHEMA:
            yield event.id
