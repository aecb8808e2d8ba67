"""A data file under another namespace's name: the same rows in the same row groups, with other `$id`s."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from parquedb.storage.files.columns import ID_COLUMN
from parquedb.storage.files.partial_reads import Tail

_PIECE_BYTES: Final = 1 << 20
_END_BYTES: Final = 8


def rename_file(source: bytes | Path, target: Path, before: str, after: str) -> None:
    """Write a data file anew, one row group in memory at a time.

    Takes CPU time in proportion to the rows: run it in a thread.

    Args:
        source: The file.
        target: Where the new one goes.
        before: What each `$id` begins with, `<namespace>/`.
        after: What it shall begin with.

    Raises:
        ValueError, pa.ArrowException: it is no such file.
    """
    place = pa.BufferReader(source) if isinstance(source, bytes) else str(source)
    with (
        pq.ParquetFile(place, page_checksum_verification=True) as file,
        pq.ParquetWriter(str(target), file.schema_arrow, **_options(file)) as writer,
    ):
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group)
            at = table.schema.get_field_index(ID_COLUMN)
            ids = _renamed(table.column(at), before, after)
            writer.write_table(table.set_column(at, table.schema.field(at), ids), row_group_size=table.num_rows)


def describe(path: Path) -> tuple[int, int, Tail]:
    """Return size, checksum and footer of a file, as the manifest has them."""
    digest, size = xxhash.xxh3_64(), path.stat().st_size
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
        file.seek(size - _END_BYTES)
        length = int.from_bytes(file.read(4), "little") + _END_BYTES
        file.seek(size - length)
        footer = file.read()
    return size, digest.intdigest(), Tail(length, xxhash.xxh3_64_intdigest(footer))


def _renamed(ids: pa.ChunkedArray, before: str, after: str) -> pa.ChunkedArray:
    if not pc.all(pc.starts_with(ids, before), min_count=0).as_py():
        raise ValueError(f"not every $id begins with {before!r}")
    return pc.binary_join_element_wise(after, pc.utf8_slice_codeunits(ids, len(before)), "")


def _options(file: pq.ParquetFile) -> dict[str, Any]:
    """Return what makes a writer choose as the one did that made the file."""
    metadata = file.metadata
    options: dict[str, Any] = {"write_statistics": True, "write_page_checksum": True}
    if not metadata.num_row_groups:
        return options
    first = metadata.row_group(0)
    columns = [first.column(at) for at in range(first.num_columns)]
    return {
        **options,
        "compression": {one.path_in_schema: one.compression for one in columns},
        "use_dictionary": [one.path_in_schema for one in columns if one.has_dictionary_page],
        "sorting_columns": list(first.sorting_columns) or None,
    }
