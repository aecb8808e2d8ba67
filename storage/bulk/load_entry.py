"""Bulk loads: the log entry that makes data files part of a namespace.

The files have no `$seq` column, for nobody knows the seqs before the entry has landed: row r has the seq of the file's
first row plus r. Everything else of a document is in it, `version`, `createdAt` and `updatedAt` too, so that any tool
reads whole documents. They say when the load began, by the owner's clock.

Wire form of an entry's body: `[[file...], columns, [request record...]]` in `parquedb.documents.codec` msgpack: wire
forms of `DataFile`, whose seqs count from 0; the wire form of a `ColumnRegistry` of what is in them; and records as in
`parquedb.storage.log.events`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError
from parquedb.storage.files.columns import PATHS_MAX, Column, ColumnRegistry
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.log.events import RequestRecord


def with_found(registry: ColumnRegistry, columns: Mapping[str, Column]) -> ColumnRegistry:
    """Return the registry with the paths of some files that it lacks; what it has, stays.

    Paths beyond `PATHS_MAX` are left out: the registry only says what new files look like.
    """
    wire = registry.to_wire()
    for name, column in columns.items():
        before = wire.get(name)
        after = _joined(before, column)
        if after == before:
            continue
        grown = ColumnRegistry.from_wire({**wire, name: after})
        if grown.paths <= PATHS_MAX:
            wire[name] = after
    return registry if wire == registry.to_wire() else ColumnRegistry.from_wire(wire)


def _joined(before: Column | None, found: Column) -> Column:
    if before is None:
        return found
    if isinstance(before, str) or isinstance(found, str):
        return before
    return {**before, **{name: _joined(before.get(name), child) for name, child in found.items()}}


@dataclass(frozen=True, slots=True)
class Bulk:
    """What a bulk entry says.

    Attributes:
        files: Their seqs count from 0 in each.
        columns: Wire form of the registry of their columns.
        records: What the request came to, if it has an id.
    """

    files: tuple[DataFile, ...]
    columns: Mapping[str, Column]
    records: tuple[RequestRecord, ...]

    @property
    def rows(self) -> int:
        """Documents in all files."""
        return sum(file.rows for file in self.files)

    def placed(self, first_seq: int) -> Iterator[DataFile]:
        """Yield the files with the seqs of an entry whose first is `first_seq`."""
        for file in self.files:
            yield replace(file, seq_first=first_seq, seq_last=first_seq + file.rows - 1)
            first_seq += file.rows


def encode_bulk(bulk: Bulk) -> bytes:
    """Encode the body of a bulk entry."""
    records = [(r.request, r.kind, r.first_event, r.events, r.value) for r in bulk.records]
    return encode([[file.to_wire() for file in bulk.files], dict(bulk.columns), records])


def decode_bulk(key: str, body: bytes) -> Bulk:
    """Decode the body of a bulk entry.

    Raises:
        CorruptionError: the body is not of this form; names `key`.
    """
    try:
        files, columns, records = decode(body)
        return Bulk(tuple(map(DataFile.from_wire, files)), columns, tuple(RequestRecord(*record) for record in records))
    except (CorruptionError, ValueError, TypeError, KeyError, IndexError) as error:
        raise CorruptionError(key=key, reason=f"body unreadable: {error}", cause=error) from error
