"""`parquedb import`: rows of files as new documents, with the lines of those that were refused."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa
from pyarrow import ipc
from pyarrow import parquet as pq
from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.files import library_format, place_of_file
from parquedb.cluster.cli.opening import opened
from parquedb.cluster.cli.progress import Meter
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.cli.wording import counted, duration, one_line, size
from parquedb.cluster.client.collection import Collection
from parquedb.cluster.exchange.results import ImportResult
from parquedb.errors import InvalidInputError
from parquedb.storage.exchange.csv_reader import CsvOptions, column_names
from parquedb.storage.exchange.file_formats import CSV, Place, check_readable

ARROW: Final = "arrow"
_ARROW_SUFFIXES: Final = frozenset({".arrow", ".feather", ".ipc"})


@dataclass
class ImportCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        namespace: Where the rows go.
        files: Read in this order.
        format: What they are, whatever their names.
        options: Of `Collection.import_file`.
        refused_max: So many rows may be refused, and the exit code is still 0.
        as_json: Whether to print JSON.
        screen: Where it says what was stored.
        notes: Where progress and refused rows go.
    """

    url: str | None
    namespace: str
    files: Sequence[Path]
    format: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    refused_max: int = 0
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notes: Console = field(default_factory=notices)

    def __post_init__(self) -> None:
        self._request_id: str = self.options.get("request_id") or f"import-{uuid4().hex}"
        self._stored = 0

    def run(self) -> bool:
        """Import, and say what came of it; return whether no more rows were refused than may be.

        Raises:
            ParqueDBError: a file cannot be read, or the database does not take it; says what was stored before.
        """
        for path in self.files:
            check_readable(path)
            if not _is_arrow(path, self.format):
                place = place_of_file(str(path), library_format(self.format))
                # Before anything is stored, of any of the files.
                if place.format == CSV and "delimiter" not in self.options:
                    _check_header(place, self.options.get("encoding"))
        done: list[tuple[Path, ImportResult]] = []
        try:
            with opened(self.url) as database, Meter(self.notes) as meter:
                collection = database.collection(self.namespace)
                for number, path in enumerate(self.files):
                    done.append((path, self._import(collection, path, number, meter)))
        except KeyboardInterrupt:
            self._tell_interrupted(done)
            raise
        finally:
            # Also where a file stops it: those before it are stored.
            self._tell(done)
        return sum(result.skipped for _, result in done) <= self.refused_max

    def _import(self, collection: Collection, path: Path, number: int, meter: Meter) -> ImportResult:
        with _importable(path, self.format) as (file, format_):
            total = file.stat().st_size

            def show(rows: int, read: int) -> None:
                self._stored = rows
                meter.show(str(path), read, total, counted(rows, "document"))

            self._stored = 0
            options = {**self.options, "request_id": self._request_id}
            if len(self.files) > 1:
                options["request_id"] += f"-{number}"
            return collection.import_file(file, format=format_, on_progress=show, **options)

    def _tell_interrupted(self, done: Sequence[tuple[Path, ImportResult]]) -> None:
        """Say what is stored of the file that was being read, and how to go on."""
        if len(done) < len(self.files):
            name, again = escape(one_line(str(self.files[len(done)]))), f"--request-id {self._request_id}"
            self.notes.print(
                f"[yellow]{name}[/]: {counted(self._stored, 'document')} and perhaps some more are stored; "
                f"the same command with {again} goes on there, soon after"
            )

    def _tell(self, done: Sequence[tuple[Path, ImportResult]]) -> None:
        if self.as_json:
            files = [{"path": str(path), "refused": result.skipped, **asdict(result)} for path, result in done]
            for file in files:
                del file["skipped"]
            total = {name: sum(file[name] for file in files) for name in ("rows", "refused")}
            print(json.dumps({**total, "files": files}), file=self.screen.file)
            return
        for path, result in done:
            self._tell_file(path, result)

    def _tell_file(self, path: Path, result: ImportResult) -> None:
        name = escape(one_line(str(path)))
        for error in result.errors:
            self.notes.print(f"[yellow]{name}, line {error.line:,}[/]: {escape(one_line(error.reason))}")
        untold = result.skipped - len(result.errors)
        if untold > 0:
            self.notes.print(f"[yellow]{name}[/]: and {counted(untold, 'row')} more")
        rate = f", {result.rows / result.seconds:,.0f} a second" if result.seconds > 0 else ""
        refused = f", [yellow]{counted(result.skipped, 'row')} refused[/]" if result.skipped else ""
        self.screen.print(
            f"[bold]{name}[/]: {counted(result.rows, 'document')} stored{refused} "
            f"({size(result.bytes)} in {duration(result.seconds)}{rate})"
        )


def _is_arrow(path: Path, format_: str | None) -> bool:
    return format_ == ARROW or (format_ is None and path.suffix.lower() in _ARROW_SUFFIXES)


def _check_header(place: Place, encoding: str | None) -> None:
    """Accept a CSV file whose header can be read with the delimiter that nobody gave.

    Raises:
        InvalidInputError: it cannot, in the words of the command.
    """
    try:
        column_names(place, CsvOptions() if encoding is None else CsvOptions(encoding=encoding))
    except InvalidInputError as error:
        asks = error.field == "delimiter"
        said = f"a comma leaves its header in one piece: give --delimiter {error.expected}" if asks else error.message
        raise InvalidInputError(f"{str(place.path)!r}: {said}", field="FILE") from error


@contextlib.contextmanager
def _importable(path: Path, format_: str | None) -> Iterator[tuple[Path, str | None]]:
    """Give a file that can be imported, and its format; Arrow files become Parquet, a batch at a time, for so long."""
    if not _is_arrow(path, format_):
        yield path, library_format(format_)
        return
    with tempfile.TemporaryDirectory(prefix="parquedb-import-") as folder:
        made = Path(folder) / f"{path.stem}.parquet"
        try:
            _rewrite(path, made)
        except (pa.ArrowException, OSError) as error:
            raise InvalidInputError(f"{str(path)!r} cannot be read as Arrow IPC: {error}") from error
        yield made, None


def _rewrite(path: Path, made: Path) -> None:
    with pa.OSFile(str(path)) as source:
        try:
            file = ipc.open_file(source)
            schema, batches = file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
        except pa.ArrowInvalid:  # The other of the two forms: a stream.
            source.seek(0)
            stream = ipc.open_stream(source)
            schema, batches = stream.schema, iter(stream)
        with pq.ParquetWriter(made, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
