"""Documents as lines of extended JSON, which keeps every type; see `parquedb.documents.extended_json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from parquedb.documents import extended_json
from parquedb.errors import InvalidInputError
from parquedb.storage.exchange.file_formats import Place, Source, reading
from parquedb.storage.exchange.row_pieces import (
    DELETED,
    MARKED_DELETED,
    PIECE_DOCUMENTS_MAX,
    SET_BY_DATABASE,
    Document,
    Piece,
    Refusals,
)
from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.shred import unshred

LINE_BYTES_MAX: Final = 64 << 20
"""A longer line is no document: those have at most 16 MiB."""

PIECE_BYTES_MAX: Final = 4 << 20
_READ_BYTES: Final = 1 << 20
_ROWS_AT_ONCE: Final = 1_000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_json_lines(place: Place, refusals: Refusals, id_column: str) -> Iterator[Piece]:
    """Yield the documents of a file.

    Args:
        place: The file.
        refusals: Takes the lines that hold no document.
        id_column: The field that holds the ids.

    Raises:
        InvalidInputError: the file cannot be read, or a line may not be left out.
    """
    with reading(place):
        source = Source(place)
    try:
        documents: list[Document] = []
        lines: list[int] = []
        size = 0
        for number, line in enumerate(_lines(place, source), start=1):
            document = _document(line, number, refusals, id_column)
            if document is None:
                continue
            if len(documents) >= PIECE_DOCUMENTS_MAX or (documents and size + len(line) > PIECE_BYTES_MAX):
                yield Piece(documents, np.array(lines, np.int64), source.bytes_read)
                documents, lines, size = [], [], 0
            documents.append(document)
            lines.append(number)
            size += len(line)
        if documents:
            yield Piece(documents, np.array(lines, np.int64), source.bytes_read)
    finally:
        source.close()


def _lines(place: Place, source: Source) -> Iterator[bytes]:
    """Yield the lines without their ends, holding little more than one of them."""
    held = b""
    first = True
    while True:
        with reading(place):
            data: bytes = source.stream.read(_READ_BYTES)
        if first:
            data, first = data.removeprefix(_BYTE_ORDER_MARK), False
        if not data:
            break
        *whole, held = (held + data).split(b"\n")
        yield from whole
        if len(held) > LINE_BYTES_MAX:
            raise InvalidInputError(f"a line of more than {LINE_BYTES_MAX >> 20} MiB is no document", field="path")
    if held:
        yield held


def _document(line: bytes, number: int, refusals: Refusals, id_column: str) -> Document | None:
    if not line.strip():
        return None
    try:
        document = extended_json.loads_document(line)
    except InvalidInputError as error:
        refusals.add(number, error.message)
        return None
    if id_column != ID_COLUMN and not _identified(document, number, refusals, id_column):
        return None
    if ID_COLUMN in document and document.get(DELETED) is not None:
        refusals.add(number, MARKED_DELETED)
        return None
    if ID_COLUMN in document and not SET_BY_DATABASE.isdisjoint(document) and id_column == ID_COLUMN:
        document = {name: value for name, value in document.items() if name not in SET_BY_DATABASE}
    return document


def _identified(document: Document, number: int, refusals: Refusals, id_column: str) -> bool:
    """Give a document its id from another field; False where that holds none."""
    value = document.pop(id_column, None)
    if type(value) is not str and type(value) is not int:
        refusals.add(number, f"{id_column!r}: expected an id, got {type(value).__name__}")
        return False
    document[ID_COLUMN] = str(value)
    return True


class JsonLinesWriter:
    """Writes documents as lines.

    Args:
        stream: Takes bytes.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def documents(self, documents: Sequence[Document]) -> None:
        """Write some documents."""
        dumps = extended_json.dumps_document
        self._stream.write("".join([dumps(document) + "\n" for document in documents]).encode())

    def table(self, table: pa.Table) -> None:
        """Write the rows of a snapshot's columns."""
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            documents = unshred(table.slice(start, _ROWS_AT_ONCE))
            self.documents(documents)

    def close(self) -> None:
        """End the file."""
