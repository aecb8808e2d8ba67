"""Reading parts of a data file: its footer, or the columns that a query looks at, instead of the whole object.

What is read by parts can't be checked against the checksum of the whole. The footer has a checksum of its own in the
manifest, and every page of the file carries a CRC, which PyArrow verifies.

Source: Apache Parquet format, "File format" and `PageHeader.crc`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash

SPARSE_BYTES_MIN = 1 << 20
"""Smaller objects are read whole."""

_WORTH = 4
"""Parts are read where they are at most one in so many bytes of the object."""

_GAP_BYTES = 128 << 10
"""Parts closer than this are read as one: a request costs more than the bytes between."""

_LENGTH_AND_MAGIC_BYTES = 8

Span = tuple[int, int]
"""Bytes from (inclusive) and to (exclusive)."""


class Tail(NamedTuple):
    """The end of an object: footer, its length, magic bytes.

    Attributes:
        bytes: Its size.
        checksum: Its XXH3-64.
    """

    bytes: int
    checksum: int


def tail_of(data: bytes) -> Tail:
    """Return what the manifest says of the end of a Parquet file."""
    size = int.from_bytes(data[-_LENGTH_AND_MAGIC_BYTES:-4], "little") + _LENGTH_AND_MAGIC_BYTES
    return Tail(size, xxhash.xxh3_64_intdigest(memoryview(data)[-size:]))


def chunk_span(column: Any) -> Span:
    """Return where the pages of one column of a row group lie, by PyArrow's metadata of it."""
    starts = (column.data_page_offset, column.dictionary_page_offset if column.has_dictionary_page else None)
    start = min(at for at in starts if at is not None)
    return start, start + column.total_compressed_size


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return spans in ascending order, near ones as one."""
    found: list[Span] = []
    for start, stop in sorted(spans):
        if found and start - found[-1][1] <= _GAP_BYTES:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found


def worth_it(spans: Sequence[Span], size: int) -> bool:
    """Whether reading these parts of an object of so many bytes is much less than reading it whole."""
    return size >= SPARSE_BYTES_MIN and _WORTH * sum(stop - start for start, stop in spans) <= size


class Parts(io.RawIOBase):
    """Some parts of an object, as a file that PyArrow reads. Outside of them there is nothing.

    Args:
        size: Of the whole object, bytes.
        parts: Start and content of each.

    Attributes:
        parts: The same; may be replaced by others while nobody reads.
    """

    def __init__(self, size: int, parts: Iterable[tuple[int, bytes | memoryview]]) -> None:
        super().__init__()
        self._size = size
        self.parts = [(start, memoryview(content)) for start, content in parts]
        self._at = 0

    def readable(self) -> bool:
        """It is only read."""
        return True

    def seekable(self) -> bool:
        """Any place can be read."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> memoryview:
        """Return bytes from here on, uncopied: PyArrow takes any buffer.

        Raises:
            OSError: they are not all in one part.
        """
        stop = self._size if size < 0 else min(self._at + size, self._size)
        found = self.between(self._at, stop)
        self._at = stop
        return found

    def between(self, start: int, stop: int) -> memoryview:
        """Return bytes from `start` (inclusive) to `stop` (exclusive).

        Raises:
            OSError: they are not all in one part.
        """
        for first, content in self.parts:
            if first <= start and stop <= first + len(content):
                return content[start - first : stop - first]
        raise OSError(f"bytes {start} to {stop} were not read from the store")

    def opened(self) -> Any:
        """Return what PyArrow reads the same parts from, with a place of its own."""
        return pa.PythonFile(Parts(self._size, self.parts), mode="r")


Readable = bytes | Parts
"""A whole object, or parts of it."""


def reader(data: Readable) -> Any:
    """Return what PyArrow reads an object from."""
    return pa.BufferReader(data) if isinstance(data, bytes) else data.opened()


def between(data: Readable, span: Span) -> memoryview:
    """Return bytes of an object.

    Raises:
        OSError: they were not read from the store.
    """
    return memoryview(data)[slice(*span)] if isinstance(data, bytes) else data.between(*span)
