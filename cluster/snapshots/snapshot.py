"""A namespace as of one moment, read straight from storage by whoever holds it: the owner's other callers don't notice.

Columns are those of the data files: `$id`, `$seq` (of the document's last change), the system fields, the user's fields
by name with the type most of their values have, and `$residual`, JSON of what does not fit such a column (null for most
documents). Soft-deleted documents are left out unless asked for.
"""

import importlib
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from parquedb.actors.reads.queries import filter_of, prepare
from parquedb.actors.requests import read_arguments
from parquedb.actors.requests.operations import Operation
from parquedb.actors.requests.read_arguments import Fields, SortSpec
from parquedb.cluster.client.connection import Connection, Link
from parquedb.cluster.client.pages import Document, Page
from parquedb.cluster.reporting.watching import watched_method
from parquedb.cluster.snapshots import ray_dataset as snapshot_ray
from parquedb.cluster.snapshots.hold import Hold, closed_error
from parquedb.cluster.transport.credentials import Credentials
from parquedb.documents.filters import compile_filter
from parquedb.documents.projection import parse_projection
from parquedb.errors import ConfigurationError, CorruptionError, InvalidInputError
from parquedb.storage.files.shred import unshred
from parquedb.storage.query.scan_rows import stream
from parquedb.storage.snapshot import Part, Wanted, borrowed, counts_whole, explained, has_schema, memory_table, tables

_ROWS_AT_ONCE: Final = 1_000


class Snapshot:
    """An immutable view of a namespace, held until it is closed or forgotten; any number of threads may use it.

    Methods do their work in the calling thread's time; in coroutines, call them with `asyncio.to_thread`.

    Raises (all methods that read):
        SnapshotNotFoundError: the hold was lost for longer than superseded files are kept.
        CorruptionError: a file is altered.
    """

    def __init__(self, connection: Connection, link: Link, namespace: str, answer: Mapping[str, Any]) -> None:
        """Hold what the owner described; use `Collection.snapshot`."""
        self.namespace = namespace
        self.seq: int = answer["seq"]
        self.time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=answer["time_us"])
        self._connection = connection
        self._hold = Hold(connection, link, namespace, answer)
        self._finalizer = weakref.finalize(self, self._hold.close)
        self._finalizer.atexit = False
        self._paths: list[str] | None = None
        self._copying = threading.Lock()

    @property
    def age_s(self) -> float:
        """Seconds since the snapshot was taken, by this machine's clock."""
        return max(0.0, (datetime.now(UTC) - self.time).total_seconds())

    @property
    def schema(self) -> pa.Schema:
        """The columns of `to_arrow` and of everything else that gives columns."""
        return self._hold.content.arrow_schema()

    def present_columns(self) -> dict[str, pa.DataType]:
        """Return the columns and their types, without those of the database that no document has."""
        return self._hold.content.present_columns()

    def residual_fields(self) -> frozenset[str]:
        """Return the fields of which some document has a value in `$residual`."""
        return self._hold.content.residual_fields()

    def to_arrow(self, columns: Sequence[str] | None = None, *, include_deleted: bool = False) -> pa.Table:
        """Return all rows as one table, in no particular order.

        Args:
            columns: Those to return; None for all.
            include_deleted: Whether soft-deleted documents count.
        """
        return self.batches(columns, include_deleted=include_deleted).read_all()

    def batches(self, columns: Sequence[str] | None = None, *, include_deleted: bool = False) -> pa.RecordBatchReader:
        """Return a reader that holds one row group at a time; arguments as of `to_arrow`."""
        hold = self._opened()
        unknown = [name for name in columns or () if name not in hold.content.schema]
        if unknown:
            raise InvalidInputError(f"columns: {unknown[0]!r} is no column of the snapshot", field="columns")
        wanted = Wanted(hold.content.schema, columns, include_deleted)
        found = hold.iterate(self._tables(wanted))
        schema = hold.content.arrow_schema(columns)
        return pa.RecordBatchReader.from_batches(schema, (batch for table in found for batch in table.to_batches()))

    def documents(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the public name of the argument
        *,
        fields: Fields | None = None,
        include_deleted: bool = False,
    ) -> Iterator[Document]:
        """Yield the documents that match exactly as they are stored, in no particular order; `fields` as in `find`."""
        if filter is None and fields is None:
            for batch in self.batches(include_deleted=include_deleted):
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    yield from unshred(pa.Table.from_batches([batch.slice(start, _ROWS_AT_ONCE)]))
            return
        hold, projection = self._opened(), parse_projection(fields)
        given = read_arguments.count(self.namespace, filter, include_deleted=include_deleted).options
        predicate = compile_filter(filter_of(given))
        for documents in hold.iterate(stream(hold.scan, predicate, None if projection is None else projection.columns)):
            yield from documents if projection is None else map(projection, documents)

    def count(self, filter: Mapping[str, Any] | None = None, *, include_deleted: bool = False) -> int:  # noqa: A002 - public
        """Count the documents that match; see `Collection.count`."""
        counted: int = self._ask(read_arguments.count(self.namespace, filter, include_deleted=include_deleted))
        return counted

    def find(  # noqa: PLR0913 - the arguments of `Collection.find`
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the public name of the argument
        *,
        sort: SortSpec | None = None,
        limit: int = read_arguments.LIMIT_DEFAULT,
        skip: int = 0,
        cursor: str | None = None,
        fields: Fields | None = None,
        include_deleted: bool = False,
    ) -> Page:
        """Return a page of the documents that match; see `Collection.find`."""
        options: dict[str, Any] = {
            "sort": sort,
            "limit": limit,
            "fields": fields,
            "include_deleted": include_deleted,
        }

        def following(cursor: str) -> Page:
            return self.find(filter, cursor=cursor, **options)

        answer = self._ask(read_arguments.find(self.namespace, filter, skip=skip, cursor=cursor, **options))
        return Page(answer["items"], answer["next_cursor"], None, following)

    def dataset(self) -> ds.FileSystemDataset:
        """Return a dataset that is read when it is used, with filters and columns pushed down.

        Its files are copies in a temporary folder of this machine, which goes when the snapshot is closed.
        """
        return ds.dataset(self._copies(), schema=self.schema, format="parquet")

    def to_duckdb(self, con: Any = None) -> Any:
        """Return a DuckDB relation over `dataset`, on a connection or on DuckDB's own.

        Raises:
            ConfigurationError: `parquedb[duckdb]` is not installed.
        """
        duckdb = _extra("duckdb")
        return (con or duckdb.default_connection()).from_arrow(self.dataset())

    def to_polars(self) -> Any:
        """Return a Polars lazy frame over `dataset`.

        Raises:
            ConfigurationError: `parquedb[polars]` is not installed.
        """
        return _extra("polars").scan_pyarrow_dataset(self.dataset())

    def to_ray(self) -> Any:
        """Return a `ray.data.Dataset`, a block per file, whose tasks read storage by themselves.

        It is read when it is used: keep the snapshot open until then.
        """
        self._opened()
        return snapshot_ray.dataset(self._connection, self._hold.content)

    def close(self) -> None:
        """Let go of the snapshot; again does nothing."""
        self._finalizer.detach()
        self._hold.close(wait=True)

    async def _tables(self, wanted: Wanted) -> AsyncIterator[pa.Table]:
        hold = self._hold
        for part in hold.content.parts:
            async for table in tables(hold.files, part, wanted):
                yield table
        yield memory_table(hold.content.memory, wanted)

    def _ask(self, operation: Operation) -> Any:
        hold = self._opened()
        memory_max = self._connection.settings.engine.query_memory_max
        ask = prepare(operation.kind, operation.options, namespace=self.namespace, memory_max=memory_max)

        async def answer() -> Any:
            return await ask(hold.scan)

        try:
            return hold.run(answer())
        except CorruptionError as error:
            raise explained(error) from error

    def _copies(self) -> list[str]:
        """Return the paths of local Parquet files that hold exactly the visible rows."""
        hold = self._opened()
        with self._copying:  # Two threads at once would write into each other's files.
            if self._paths is None:
                folder = hold.spool()
                paths = [folder / f"{number}.parquet" for number in range(len(hold.content.parts) + 1)]
                for part, path in zip(hold.content.parts, paths, strict=False):
                    hold.run(self._copy(part, path))
                pq.write_table(
                    memory_table(hold.content.memory, Wanted(hold.content.schema)), paths[-1], compression="zstd"
                )
                self._paths = [str(path) for path in paths if path.exists()]
            return self._paths

    async def _copy(self, part: Part, path: Path) -> None:
        hold = self._hold
        if counts_whole(part):
            data, footer = await borrowed(hold.files, part.file)
            if has_schema(data, footer, hold.content.schema):
                await hold.files.run(lambda: path.write_bytes(data))
                return
        with pq.ParquetWriter(path, self.schema, compression="zstd") as writer:
            async for table in tables(hold.files, part, Wanted(hold.content.schema)):
                await hold.files.run(partial(writer.write_table, table))

    def _opened(self) -> Hold:
        if self._hold.closed:
            raise closed_error()
        return self._hold

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Snapshot({self.namespace!r} as of {self.seq})"


def take_snapshot(
    connection: Connection, namespace: str, timeout_s: float, credentials: Credentials | None = None
) -> Snapshot:
    """Ask the owner for a snapshot and hold it.

    Args:
        connection: Of the database.
        namespace: Whose snapshot.
        timeout_s: For the question.
        credentials: What the owner is shown, now and when the hold is renewed; the connection's when None.

    Raises:
        ConfigurationError: the storage is out of reach here: in its owners' memory, or behind a gateway.
        ParqueDBError: the owner refused, or did not answer in time.
    """
    connection.require_storage("snapshot")
    if connection.settings.url.startswith("memory:"):
        raise ConfigurationError("url: a snapshot is read by the caller, which a memory:// database does not allow")
    connection.join()
    link = connection.link(namespace, credentials or connection.credentials)
    with watched_method(connection.hooks, "query", namespace, "snapshot", actor=link.actor) as facts:
        answer = link.deliver(Operation("snapshot"), timeout_s).value
        facts["seq"] = answer["seq"]
        return Snapshot(connection, link, namespace, answer)


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{name} is not installed here: pip install 'parquedb[{name}]'"
        raise ConfigurationError(message, cause=error) from error
