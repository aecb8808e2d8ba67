"""The methods of a collection that import and export files, for synchronous use and for coroutines."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones
# ruff: noqa: A002 - `format` and `filter` are the public names of arguments

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from typing import Any

from parquedb.actors.requests.read_arguments import AsOf, Fields, SortSpec
from parquedb.cluster.exchange.exporting import ExportPlan, exporting, plan_export
from parquedb.cluster.exchange.importing import ImportPlan, importing, plan_import
from parquedb.cluster.exchange.results import ExportResult, ImportResult
from parquedb.cluster.reporting.watching import watched_method
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase
from parquedb.steps import carried_out, carried_out_async
from parquedb.storage.files.columns import ID_COLUMN

Path = str | PathLike[str]
OnProgress = Callable[[int, int], object]


Watched = AbstractContextManager[dict[str, Any]]


def _watched_import(collection: Any, plan: ImportPlan) -> Watched:
    hooks, place = collection._database._connection.hooks, plan.place
    told = {"path": str(place.path), "format": place.format, "actor": plan.actor}
    return watched_method(hooks, "mutation", collection.namespace, "import_file", **told)


def _watched_export(collection: Any, plan: ExportPlan) -> Watched:
    hooks, place = collection._database._connection.hooks, plan.place
    told = {"path": str(place.path), "format": place.format, **plan.query}
    return watched_method(hooks, "query", collection.namespace, "export_file", **told)


class ExchangeMethods(CollectionBase):
    """Files in, files out; see docs/exchange.md for what each format can hold."""

    __slots__ = ()

    def import_file(
        self,
        path: Path,
        *,
        format: str | None = None,
        id_column: str = ID_COLUMN,
        on_error: str = "stop",
        delimiter: str | None = None,
        quote_char: str | None = None,
        header: bool | None = None,
        column_names: Sequence[str] | None = None,
        null_values: Sequence[str] | None = None,
        types: Mapping[str, str] | None = None,
        infer_types: bool | None = None,
        encoding: str | None = None,
        actor: str | None = None,
        request_id: str | None = None,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> ImportResult:
        """Store the rows of a file as new documents; what was stored before an error stays.

        The file may be larger than memory. Fields that the database sets (`version`, `createdAt`, ...) are left out of
        files that have `$id`, as exports do, and refused in others.

        Args:
            path: `.csv`, `.jsonl`, `.ndjson` (each also `.gz` or `.zst`) or `.parquet`.
            format: `csv`, `jsonl` or `parquet`, whatever the name of the file.
            id_column: The column or field that holds the ids; without a `$id`, ids are made.
            on_error: `stop` raises at the first row that cannot be stored; `skip` leaves such rows out and tells.
            delimiter: CSV: between cells; a comma.
            quote_char: CSV: around cells; `"`.
            header: CSV: whether the first row names the columns; True.
            column_names: CSV: names to use instead of the header's.
            null_values: CSV: unquoted cells that mean no value; `[""]`. `NA` is text unless it is named here.
            types: CSV: `{"column": "int"}`: `string int float bool datetime date decimal decimal(p,s) uuid bytes json`.
            infer_types: CSV: whether other columns may become something else than text: what the collection's schema
                says, or what all their cells are; True. Numbers with leading zeros stay text.
            encoding: CSV: of the text; `utf-8`.
            actor: Who is said to make the documents.
            request_id: Makes a repeated import of the same file with the same arguments store nothing twice, and go on
                where it was. As for any write, it is remembered for a limited time. The context of an error has it.
            on_progress: Called after each piece with the rows stored and the bytes of the file read so far.
            timeout_s: Seconds for each call to the owner.

        Raises:
            NotFoundError: there is no such file.
            ValidationError: an argument, or a row and its `line`, is not what it should be.
            AlreadyExistsError: an id is taken, or twice in the file.
        """
        plan = plan_import(
            path,
            format=format,
            id_column=id_column,
            on_error=on_error,
            delimiter=delimiter,
            quote_char=quote_char,
            header=header,
            column_names=column_names,
            null_values=null_values,
            types=types,
            infer_types=infer_types,
            encoding=encoding,
            actor=actor,
            request_id=request_id,
            on_progress=on_progress,
            timeout_s=timeout_s,
        )
        with _watched_import(self, plan) as facts:
            imported = carried_out(importing(plan), self)
            facts.update(rows=imported.rows, errors=imported.skipped, bytes=imported.bytes)
            return imported

    def export_file(
        self,
        path: Path,
        *,
        filter: Mapping[str, Any] | None = None,
        fields: Fields | None = None,
        sort: SortSpec | None = None,
        as_of: AsOf | None = None,
        format: str | None = None,
        overwrite: bool = False,
        delimiter: str | None = None,
        header: bool | None = None,
        null_value: str | None = None,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> ExportResult:
        """Write documents to a file, all as of one moment; the file appears when it is complete.

        Args:
            path: `.csv`, `.jsonl`, `.ndjson` (each also `.gz` or `.zst`) or `.parquet`.
            filter: Which documents; None for all. Soft-deleted ones are left out.
            fields: Which of their fields, as in `find`.
            sort: The order, as in `find`; without one they come as they are stored.
            as_of: The state after the change with this seq, or at this time; now when it is None.
            format: `csv`, `jsonl` or `parquet`, whatever the name of the file.
            overwrite: Whether a file of this name is replaced.
            delimiter: CSV: between cells; a comma.
            header: CSV: whether the first row names the columns; True.
            null_value: CSV: what stands for no value; nothing.
            on_progress: Called now and then with the documents and bytes written so far.
            timeout_s: Seconds for each call to the owner.

        Raises:
            AlreadyExistsError: there is a file of this name.
            NotFoundError: its folder does not exist.
            ValidationError: an argument is not what it should be.
            QueryError: filter, fields or sort are not understood.
        """
        plan = plan_export(
            self,
            path,
            filter=filter,
            fields=fields,
            sort=sort,
            as_of=as_of,
            format=format,
            overwrite=overwrite,
            delimiter=delimiter,
            header=header,
            null_value=null_value,
            on_progress=on_progress,
            timeout_s=timeout_s,
        )
        with _watched_export(self, plan) as facts:
            exported = carried_out(exporting(plan), self)
            facts.update(rows=exported.rows, seq=exported.seq)
            return exported


class AsyncExchangeMethods(AsyncCollectionBase):
    """Files in, files out; see `ExchangeMethods`."""

    __slots__ = ()

    async def import_file(
        self,
        path: Path,
        *,
        format: str | None = None,
        id_column: str = ID_COLUMN,
        on_error: str = "stop",
        delimiter: str | None = None,
        quote_char: str | None = None,
        header: bool | None = None,
        column_names: Sequence[str] | None = None,
        null_values: Sequence[str] | None = None,
        types: Mapping[str, str] | None = None,
        infer_types: bool | None = None,
        encoding: str | None = None,
        actor: str | None = None,
        request_id: str | None = None,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> ImportResult:
        """Store the rows of a file as new documents; see `Collection.import_file`. `on_progress` runs in a thread."""
        plan = plan_import(
            path,
            format=format,
            id_column=id_column,
            on_error=on_error,
            delimiter=delimiter,
            quote_char=quote_char,
            header=header,
            column_names=column_names,
            null_values=null_values,
            types=types,
            infer_types=infer_types,
            encoding=encoding,
            actor=actor,
            request_id=request_id,
            on_progress=on_progress,
            timeout_s=timeout_s,
        )
        with _watched_import(self, plan) as facts:
            imported = await carried_out_async(importing(plan), self)
            facts.update(rows=imported.rows, errors=imported.skipped, bytes=imported.bytes)
            return imported

    async def export_file(
        self,
        path: Path,
        *,
        filter: Mapping[str, Any] | None = None,
        fields: Fields | None = None,
        sort: SortSpec | None = None,
        as_of: AsOf | None = None,
        format: str | None = None,
        overwrite: bool = False,
        delimiter: str | None = None,
        header: bool | None = None,
        null_value: str | None = None,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> ExportResult:
        """Write documents to a file; see `Collection.export_file`. `on_progress` runs in a thread."""
        plan = plan_export(
            self,
            path,
            filter=filter,
            fields=fields,
            sort=sort,
            as_of=as_of,
            format=format,
            overwrite=overwrite,
            delimiter=delimiter,
            header=header,
            null_value=null_value,
            on_progress=on_progress,
            timeout_s=timeout_s,
        )
        with _watched_export(self, plan) as facts:
            exported = await carried_out_async(exporting(plan), self)
            facts.update(rows=exported.rows, seq=exported.seq)
            return exported
