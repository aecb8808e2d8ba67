"""What the owner looks at of a file that somebody else has made, before it becomes part of the namespace.

A loader has the credentials of the store, so it is not an enemy, but it may have met another store, been cut off, or be
of another release. One read of the file's end settles what matters most, whatever the size of the file:

    the object is there, and exactly as large as said    a file cut short, another store
    its footer has the checksum said                     reads by parts rest on it
    its format, rows, columns and their types            every later read relies on them
    least and greatest `$id`, statistics of columns      taken from the footer; a wrong one would hide documents

What would need all the data is believed: that `$id`s differ within the load and ascend where that is said, that values
were held to the schema, that `$residual` is well formed, and the checksum of the whole, which the first read of the
whole object verifies. Whether the ids are free the owner always finds out by itself.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from parquedb.errors import InvalidInputError
from parquedb.storage.bulk.arrow_fields import column_of
from parquedb.storage.files import partial_reads
from parquedb.storage.files.column_stats import file_stats
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, Column, ColumnRegistry
from parquedb.storage.files.data_file import FORMAT, DataFile
from parquedb.storage.files.partial_reads import Parts

_END_BYTES: Final = 64 << 10
"""PyArrow reads so much of the end of a file, in the hope that the footer is in it."""


def end_of(file: DataFile) -> tuple[int, int]:
    """Return which bytes `checked` wants to see: from where on, and how many; one more than the file should have."""
    size = min(file.bytes, max(0 if file.tail is None else file.tail.bytes, _END_BYTES))
    return file.bytes - size, size + 1


def checked(file: DataFile, columns: Mapping[str, Any], end: bytes, namespace: str) -> DataFile:
    """Return what is to be said of a file, as its end shows it. Takes milliseconds: run it in an executor.

    Args:
        file: What the loader says.
        columns: Wire form of the registry of the load's columns.
        end: What is at `end_of(file)`.
        namespace: Whose documents they are.

    Raises:
        InvalidInputError: the file is not as its loader says.
    """
    start, _ = end_of(file)
    if start + len(end) != file.bytes:
        raise _refused(file, f"it is not of {file.bytes} bytes")
    tail = file.tail
    if tail is None or xxhash.xxh3_64_intdigest(end[len(end) - tail.bytes :]) != tail.checksum:
        raise _refused(file, "its footer has another checksum")
    try:
        metadata = pq.read_metadata(partial_reads.reader(Parts(file.bytes, [(start, end)])))
        arrow = metadata.schema.to_arrow_schema()
        found = {one.name: column_of(one.type) for one in arrow}
        bounds = _bounds(metadata)
        stats = file_stats(metadata)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise _refused(file, f"its footer cannot be read: {error}") from error
    if metadata.num_rows != file.rows:
        raise _refused(file, f"it has {metadata.num_rows} rows instead of {file.rows}")
    if (metadata.metadata or {}).get(b"parquedb.format") != FORMAT.encode():
        raise _refused(file, f"it is not of format {FORMAT}")
    said = {**ColumnRegistry.from_wire(columns).columns, RESIDUAL_COLUMN: "str"}
    wrong = [name for name, column in found.items() if not _within(column, said.get(name))]
    missing = {ID_COLUMN, "version", "createdAt", "updatedAt", RESIDUAL_COLUMN} - set(arrow.names)
    if wrong or missing:
        raise _refused(file, f"its column {min([*wrong, *missing])!r} is missing or of another type than said")
    if bounds is not None and bounds != tuple(f"{namespace}/{id_}" for id_ in (file.id_min, file.id_max)):
        raise _refused(file, f"its ids are {bounds[0]!r} to {bounds[1]!r}")
    # What only the loader can count are the rows that lack a list.
    lists = {path: file.stats[path] for path, one in stats.items() if one.nulls < 0 and path in file.stats}
    return replace(file, stats={**stats, **lists})


def _within(column: Column, said: Column | None) -> bool:
    """Whether a column has no path that the loader has not told of, and the types that it told."""
    if said is None or isinstance(column, str) or isinstance(said, str):
        return column == said
    return all(_within(child, said.get(name)) for name, child in column.items())


def _bounds(metadata: Any) -> tuple[str, str] | None:
    """Return the least and the greatest `$id`; None where the footer does not tell."""
    at = next(at for at in range(metadata.num_columns) if metadata.schema.column(at).path == ID_COLUMN)
    groups = [metadata.row_group(number).column(at).statistics for number in range(metadata.num_row_groups)]
    if any(one is None or not one.has_min_max for one in groups):
        return None
    return min(one.min for one in groups), max(one.max for one in groups)


def _refused(file: DataFile, why: str) -> InvalidInputError:
    return InvalidInputError(f"not a bulk load: {file.key!r}: {why}")
