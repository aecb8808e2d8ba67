"""What the dictionary of a column chunk tells of its rows before any of them is decoded.

A column of few distinct texts is stored as a page with each of them, and pages of numbers that point into it. Where a
query needs a row with a certain text and the dictionary lacks it, the other pages need not be looked at.

Source: Apache Parquet format, `PageHeader` and "PLAIN"; Apache Thrift, "Thrift compact protocol encoding".
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import pyarrow as pa

from parquedb.storage.files.partial_reads import Readable, between, chunk_span

Texts = tuple[tuple[str, frozenset[str]], ...]
"""Names of columns, and texts of which a row must have one there."""

_BYTES_MIN: Final = 256
"""A shorter dictionary seldom lacks what somebody asks for, and asking takes a tenth of the time of decoding."""

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8
_TYPE, _UNCOMPRESSED, _COMPRESSED, _CRC = 1, 2, 3, 4
_ENCODING_AT: Final = {_DATA: (5, 2), _DICTIONARY: (7, 2), _DATA_V2: (8, 4)}
"""By type of a page: the field of its header for that type, and the field of the encoding in it."""


def entries_of(data: Readable, column: Any) -> bytes | None:
    """Return the dictionary of a column chunk as it is stored; None where it does not tell of every row, or is short.

    Args:
        data: The object, or the part of it with this chunk.
        column: PyArrow's metadata of the chunk, of a text column.

    Raises:
        OSError: the pages were not read from the store.
        ValueError: they are damaged.
    """
    if not column.has_dictionary_page or column.data_page_offset - column.dictionary_page_offset < _BYTES_MIN:
        return None
    try:
        return _all_entries(between(data, chunk_span(column)), column.compression)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("a page header is damaged") from error


def lacks(entries: bytes, texts: frozenset[str]) -> bool:
    """Whether a dictionary surely holds none of some texts without lone surrogates."""
    # Text may also be found across two entries: then the rows are asked.
    return not any(_entry(text) in entries for text in texts)


def _all_entries(pages: memoryview, codec: str) -> bytes | None:
    header, start = _struct(pages, 0)
    if _kind(header) not in {(_DICTIONARY, _PLAIN), (_DICTIONARY, _PLAIN_DICTIONARY)}:
        return None
    at = _end(header, start, pages)
    page = pages[start:at]
    while at < len(pages):
        # PyArrow goes on without the dictionary when that grows too large.
        other, start = _struct(pages, at)
        if _kind(other)[1] not in {_PLAIN_DICTIONARY, _RLE_DICTIONARY}:
            return None
        at = _end(other, start, pages)
    if _CRC not in header or zlib.crc32(page) != header[_CRC] & 0xFFFFFFFF:
        return None  # Who decodes it will say so.
    return _decompressed(page, codec, header[_UNCOMPRESSED])


def _end(header: dict[int, Any], start: int, pages: memoryview) -> int:
    size = header[_COMPRESSED]
    if not 0 <= size <= len(pages) - start or header[_UNCOMPRESSED] < 0:
        raise IndexError(size)
    return start + size  # type: ignore[no-any-return]  # an int, as that field of a header is


def _entry(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded


def _decompressed(page: memoryview, codec: str, size: int) -> bytes:
    if codec == "UNCOMPRESSED":
        return bytes(page)
    return pa.decompress(page, size, codec.lower(), asbytes=True)  # type: ignore[no-any-return]  # no types there


def _kind(header: dict[int, Any]) -> tuple[int, int]:
    """Return the type of a page and how its values are encoded."""
    kind = header[_TYPE]
    if kind not in _ENCODING_AT:
        return kind, -1
    field, encoding = _ENCODING_AT[kind]
    return kind, header[field][encoding]


# Thrift, as far as page headers go.

_STOP, _TRUE, _FALSE, _BINARY, _STRUCT = 0, 1, 2, 8, 12
_INTS: Final = frozenset({4, 5, 6})


def _struct(data: memoryview, at: int) -> tuple[dict[int, Any], int]:
    """Return the fields of the struct that begins at `at`, by number, and where it ends."""
    found: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != _STOP:
        at += 1
        step, kind = head >> 4, head & 15
        if step:
            number += step
        else:
            number, at = _zigzag(data, at)
        found[number], at = _value(data, at, kind)
    return found, at + 1


def _value(data: memoryview, at: int, kind: int) -> tuple[Any, int]:
    if kind in {_TRUE, _FALSE}:
        return kind == _TRUE, at
    if kind in _INTS:
        return _zigzag(data, at)
    if kind == _BINARY:
        size, at = _varint(data, at)
        return None, at + size
    if kind == _STRUCT:
        return _struct(data, at)
    raise KeyError(kind)


def _zigzag(data: memoryview, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while (byte := data[at]) & 0x80:
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return number | byte << shift, at + 1
