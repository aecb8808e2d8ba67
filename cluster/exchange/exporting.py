"""Exporting to a file: documents of one moment, in the writer of a format.

A snapshot is read straight from storage. The past, and a database that only its owner can read, come page by page from
the owner, all as of one seq. `exporting` is a generator as `parquedb.cluster.exchange.importing` has one.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from parquedb.actors.requests import checks, read_arguments
from parquedb.actors.requests.arguments import check_timeout
from parquedb.actors.requests.operations import Operation
from parquedb.cluster.exchange.importing import Ask, one_character
from parquedb.cluster.exchange.results import ExportResult
from parquedb.documents.filters import compile_filter
from parquedb.documents.projection import Projection, parse_projection
from parquedb.documents.values import MANAGED_FIELDS
from parquedb.errors import QueryMemoryError
from parquedb.storage.compaction.merge_schema import Schema
from parquedb.storage.exchange.csv_writer import CsvWriter
from parquedb.storage.exchange.file_formats import CSV, PARQUET, Place, Target, check_writable, place_of, replacing
from parquedb.storage.exchange.json_lines import JsonLinesWriter
from parquedb.storage.exchange.parquet import ParquetWriter, schema_of
from parquedb.storage.exchange.row_pieces import Document
from parquedb.storage.files.columns import ID_COLUMN, RESIDUAL_COLUMN, SEQ_COLUMN

if TYPE_CHECKING:
    from parquedb.cluster.snapshots.snapshot import Snapshot

PAGE_DOCUMENTS: Final = read_arguments.LIMIT_MAX
"""Documents of a page; fewer where so many take more memory than a query may."""

_FEWER: Final = 8
_DOCUMENTS_AT_ONCE: Final = 1_000

Writer = CsvWriter | JsonLinesWriter | ParquetWriter
Pages = Generator[Ask, Any, int]


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """The arguments of an export, checked.

    Attributes:
        snapshots: Whether the caller can read the storage.
        namespace: Whose documents they are.
        place: The file.
        overwrite: Whether a file that is there is replaced.
        query: Options of a `find` for them.
        csv: Options of a `CsvWriter`.
        on_progress: Told of documents and bytes written.
        timeout_s: Seconds for each call.
    """

    snapshots: bool
    namespace: str
    place: Place
    overwrite: bool
    query: Mapping[str, Any]
    csv: Mapping[str, Any]
    on_progress: Callable[[int, int], object] | None
    timeout_s: float

    @property
    def projection(self) -> Projection | None:
        """Which parts of the documents are wanted; None for all."""
        return parse_projection(self.query.get("fields"))


def plan_export(  # noqa: PLR0913 - the arguments are those of the public method
    collection: Any,
    path: Any,
    *,
    format: str | None,  # noqa: A002 - the public name of the argument
    overwrite: bool,
    on_progress: Callable[[int, int], object] | None,
    timeout_s: float | None,
    delimiter: str | None,
    header: bool | None,
    null_value: str | None,
    **query: Any,
) -> ExportPlan:
    """Check the arguments of an export; nothing has been written or asked when it refuses.

    Raises:
        ValidationError: an argument is of the wrong kind or of no use for the format.
        QueryError: filter, fields or sort are not understood.
        AlreadyExistsError, NotFoundError: the file cannot be there.
    """
    place = place_of(path, format)
    csv = checks.given_options(delimiter=delimiter, null_value=null_value)
    if header is not None:
        csv["header"] = checks.flag("header", header)
    if csv and place.format != CSV:
        name = next(iter(csv))
        checks.refuse(name, f"nothing, for it is about CSV and this is {place.format}", csv[name])
    if delimiter is not None:
        one_character("delimiter", delimiter)
    if null_value is not None and (not isinstance(null_value, str) or not set('"\r\n').isdisjoint(null_value)):
        checks.refuse("null_value", "a str without quotes and line breaks", null_value)
    if null_value and (delimiter or ",") in null_value:
        checks.refuse("null_value", "a str without the delimiter", null_value, shown=True)
    if on_progress is not None and not callable(on_progress):
        checks.refuse("on_progress", "a callable", on_progress)
    database = collection._database
    operation = read_arguments.find(collection.namespace, **query)
    compile_filter(operation.options.get("filter"))
    plan = ExportPlan(
        snapshots=not database.url.startswith("memory:") and not database.settings.is_gateway,
        namespace=collection.namespace,
        place=place,
        overwrite=checks.flag("overwrite", overwrite),
        query={name: value for name, value in operation.options.items() if name != "limit"},
        csv=csv,
        on_progress=on_progress,
        timeout_s=check_timeout(timeout_s, database.settings.client.timeout_s),
    )
    check_writable(place, overwrite=overwrite)
    return plan


def exporting(plan: ExportPlan) -> Generator[Ask, Any, ExportResult]:
    """Export to a file; yields what a collection shall do.

    Raises:
        StorageWriteError: the disk does not take the file.
        ParqueDBError: as reading raises it.
    """
    started_s = time.monotonic()
    if "as_of" in plan.query or not plan.snapshots:
        rows, seq = yield from _from_owner(plan)
    else:
        taken = yield lambda collection: collection.snapshot(timeout_s=plan.timeout_s)
        with taken as snapshot:
            rows, seq = _from_snapshot(plan, snapshot), snapshot.seq
    size = plan.place.path.stat().st_size
    return ExportResult(plan.place.path, rows, size, seq, time.monotonic() - started_s)


def _from_snapshot(plan: ExportPlan, snapshot: "Snapshot") -> int:
    schema = _wanted(plan.projection, snapshot.present_columns())
    with replacing(plan.place, overwrite=plan.overwrite) as target:
        sink = _Sink(plan, target)
        sink.open(schema, [*schema, *_wanted(plan.projection, dict.fromkeys(snapshot.residual_fields()))])
        if plan.query:
            for documents in _documents(plan, snapshot):
                sink.documents(documents)
        else:
            for batch in snapshot.batches([*schema, RESIDUAL_COLUMN]):
                sink.table(pa.Table.from_batches([batch]))
        return sink.close()


def _documents(plan: ExportPlan, snapshot: "Snapshot") -> Iterator[Sequence[Document]]:
    query = plan.query
    if "sort" in query:
        yield from _sorted(snapshot, query)
        return
    found = snapshot.documents(query.get("filter"), fields=query.get("fields"))
    while documents := list(islice(found, _DOCUMENTS_AT_ONCE)):
        yield documents


def _sorted(snapshot: "Snapshot", query: Mapping[str, Any]) -> Iterator[Sequence[Document]]:
    limit, cursor = PAGE_DOCUMENTS, None
    while True:
        try:
            page = snapshot.find(limit=limit, cursor=cursor, **query)
        except QueryMemoryError:
            if limit == 1:
                raise
            limit = max(1, limit // _FEWER)
            continue
        yield page.items
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def _from_owner(plan: ExportPlan) -> Generator[Ask, Any, tuple[int, int]]:
    """Export what only the owner can tell; return how many documents, and as of which seq."""
    first = yield _asked(plan, _find(plan, 1, None))
    plan = replace(plan, query={**plan.query, "as_of": first.seq})
    names: dict[str, None] = {}
    if plan.place.format == CSV:
        # Only the documents themselves say which columns there are.
        yield from _pages(
            plan, lambda documents: names.update(dict.fromkeys(name for one in documents for name in one))
        )
    with replacing(plan.place, overwrite=plan.overwrite) as target:
        sink = _Sink(plan, target)

        def write(documents: Sequence[Document]) -> None:
            if not sink.is_open:
                sink.open(schema_of(documents) if plan.place.format == PARQUET else {}, list(names))
            sink.documents(documents)

        yield from _pages(plan, write)
        return sink.close(), first.seq


def _pages(plan: ExportPlan, take: Callable[[Sequence[Document]], None]) -> Generator[Ask, Any, None]:
    limit, cursor = PAGE_DOCUMENTS, None
    while True:
        try:
            outcome = yield _asked(plan, _find(plan, limit, cursor))
        except QueryMemoryError:
            if limit == 1:
                raise
            limit = max(1, limit // _FEWER)
            continue
        take(outcome.value["items"])
        cursor = outcome.value["next_cursor"]
        if cursor is None:
            return


def _find(plan: ExportPlan, limit: int, cursor: str | None) -> Operation:
    return read_arguments.find(plan.namespace, limit=limit, cursor=cursor, **plan.query)


def _asked(plan: ExportPlan, operation: Operation) -> Ask:
    return lambda collection: collection._run(operation, plan.timeout_s)


class _Sink:
    """The file being written, and how much is in it."""

    def __init__(self, plan: ExportPlan, target: Target) -> None:
        self._plan = plan
        self._target = target
        self._writer: Writer | None = None
        self._rows = 0

    @property
    def is_open(self) -> bool:
        """Whether it is known what the columns are."""
        return self._writer is not None

    def open(self, schema: Schema, names: Sequence[str]) -> None:
        """Say what the columns are: of Parquet, and of CSV."""
        stream, format_ = self._target.stream, self._plan.place.format
        if format_ == CSV:
            self._writer = CsvWriter(stream, _in_order(self._plan.projection, names), **self._plan.csv)
        else:
            self._writer = ParquetWriter(stream, schema) if format_ == PARQUET else JsonLinesWriter(stream)

    def documents(self, documents: Sequence[Document]) -> None:
        """Write some documents."""
        if self._writer is not None and documents:
            self._writer.documents(documents)
            self._tell(len(documents))

    def table(self, table: pa.Table) -> None:
        """Write the rows of a snapshot's columns."""
        if self._writer is not None:
            self._writer.table(table)
            self._tell(table.num_rows)

    def close(self) -> int:
        """End the content; return how many documents there are."""
        if self._writer is not None:
            self._writer.close()
        return self._rows

    def _tell(self, rows: int) -> None:
        self._rows += rows
        if self._plan.on_progress is not None:
            self._plan.on_progress(self._rows, self._target.bytes_written)


def _wanted(projection: Projection | None, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that a projection leaves something of."""
    own = {SEQ_COLUMN, RESIDUAL_COLUMN, "deletedAt", "deletedBy"}
    if projection is not None and projection.columns is not None:
        return {name: columns[name] for name in projection.columns if name in columns}
    hidden = frozenset() if projection is None else projection.hidden
    return {name: kind for name, kind in columns.items() if name not in own and name not in hidden}


def _in_order(projection: Projection | None, names: Sequence[str]) -> list[str]:
    """Return the columns of a CSV file: the id, the user's, those that the database sets."""
    if projection is not None and projection.columns is not None:
        names = projection.columns
    rank = {ID_COLUMN: 0} | dict.fromkeys(MANAGED_FIELDS, 2)
    return sorted(dict.fromkeys(names or [ID_COLUMN]), key=lambda name: rank.get(name, 1))
