"""The files of the worker logs: where they lie, how they are named, what is in them.

    <dataset>/year=2026/month=11/day=26/hour=00/0000-01jd...parquet

The hour is that of the event, in UTC. A file is named `<generation>-<ulid>`: one that was flushed has generation 0, and
one that was merged of others a higher one than any of them.

A *leaf* is what one flush wrote of one hour; its name is that of the flushed file for good. A merged file holds the
rows of many leaves one after the other, and its footer says which. Hence the rule that everything here rests on:

    L1. Of a leaf that several files of an hour hold, the file with the greatest name counts.
    L2. A file may be deleted when each of its leaves is in a file of a greater name.

So each row is seen exactly once whatever merges were begun, finished or killed, by however many processes: the greatest
file with a leaf is only ever deleted for a still greater one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import CorruptionError
from parquedb.observability.worker_logs.rows import COLUMNS, TIME_COLUMNS, Row

HOUR_MICROS: Final = 3_600_000_000
HOUR_MIN: Final = -17_259_888
"""The first hour of the year 1."""

ROW_GROUP_ROWS: Final = 16_384
GENERATION_MAX: Final = 9999

_LEAVES: Final = b"parquedb.leaves"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = pa.timestamp("us", tz="UTC")
_TYPES: Final = {**dict.fromkeys(TIME_COLUMNS, _TIME), "http_status": pa.int32(), "duration": pa.float64()}

SCHEMA: Final = pa.schema([pa.field(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
"""Columns of every file; the hour is in the folders."""

_FILE = re.compile(
    r"(?:.*/)?year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)/((\d{4})-[0-9a-hjkmnp-tv-z]{26})\.parquet"
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """What one flush wrote of one hour.

    Attributes:
        name: Unique within the data set.
        rows: That are left of it; retention takes some.
        stored_s: When it was stored, Unix seconds by the store's clock.
    """

    name: str
    rows: int
    stored_s: float


@dataclass(frozen=True, slots=True, order=True)
class LogFile:
    """A file as a listing shows it; files of an hour are ordered as rule L1 wants it.

    Attributes:
        hour: Hours since 1970, UTC.
        name: Generation and ULID.
        key: Of the object.
        bytes: Its size.
        stored_s: Unix seconds by the store's clock.
    """

    hour: int
    name: str
    key: str
    bytes: int
    stored_s: float

    @property
    def generation(self) -> int:
        """How many merges lie behind it; 0 was flushed."""
        return int(self.name[:4])


def hour_of(micros: int) -> int:
    """Return the hour of a moment: hours since 1970, UTC, rounded down."""
    return micros // HOUR_MICROS


def hour_start(hour: int) -> datetime:
    """Return when an hour begins, UTC-aware."""
    return _EPOCH + timedelta(hours=hour)


def hour_folder(hour: int) -> str:
    """Return the folder of an hour within the data set, without slashes at its ends; folders sort as hours do."""
    start = hour_start(hour)
    return f"year={start.year:04}/month={start.month:02}/day={start.day:02}/hour={start.hour:02}"


def file_name(generation: int, ulid: str) -> str:
    """Return the name of a file, without folder and suffix."""
    return f"{generation:04}-{ulid.lower()}"


def parse_key(key: str, size: int, stored_s: float) -> LogFile | None:
    """Return the file behind a key; None for an object that is none of ours."""
    match = _FILE.fullmatch(key)
    if match is None:
        return None
    try:
        start = datetime(*(int(part) for part in match.groups()[:4]), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    hours = (start - _EPOCH) // timedelta(hours=1)
    return LogFile(hours, match[5], key, size, stored_s)


def encode_rows(rows: Sequence[Row], ids: Sequence[str]) -> bytes:
    """Return a flushed file of one hour's rows, which stay in their order.

    Args:
        rows: At least one.
        ids: As many, ascending.
    """
    columns = [ids, *zip(*rows, strict=True)]
    arrays = [
        pa.array(values, pa.int64()).cast(_TIME) if field.type == _TIME else pa.array(values, field.type)
        for values, field in zip(columns, SCHEMA, strict=True)
    ]
    return encode_table(pa.Table.from_arrays(arrays, schema=SCHEMA))


def encode_table(table: pa.Table, leaves: Sequence[Leaf] = ()) -> bytes:
    """Return rows as a file.

    Args:
        table: Rows by `SCHEMA`; those of a leaf together and in their order.
        leaves: In the order of their rows; none for a flushed file, which is its own leaf.
    """
    if leaves:
        listed = orjson.dumps([[leaf.name, leaf.rows, leaf.stored_s] for leaf in leaves])
        table = table.replace_schema_metadata({_LEAVES: listed})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP_ROWS, write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def leaves_of(file: LogFile, metadata: pq.FileMetaData) -> tuple[Leaf, ...]:
    """Return the leaves of a file, in the order of their rows.

    Raises:
        CorruptionError: the footer of a merged file does not tell, or tells of another number of rows.
    """
    if file.generation == 0:
        return (Leaf(file.name, metadata.num_rows, file.stored_s),)
    try:
        listed = orjson.loads((metadata.metadata or {})[_LEAVES])
        leaves = tuple(Leaf(str(name), int(rows), float(stored_s)) for name, rows, stored_s in listed)
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptionError(key=file.key, reason="its footer does not list its leaves", cause=error) from error
    if sum(leaf.rows for leaf in leaves) != metadata.num_rows:
        raise CorruptionError(key=file.key, reason="its leaves have another number of rows than it has")
    return leaves
