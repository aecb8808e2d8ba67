"""`parquedb export`: documents into a file, or onto standard output."""

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.files import library_format, place_of_file
from parquedb.cluster.cli.opening import check_names, opened, place_of
from parquedb.cluster.cli.progress import Meter
from parquedb.cluster.cli.query_arguments import as_of_of, fields_of, filter_of, sort_of
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.cli.wording import counted, duration, one_line, size
from parquedb.cluster.exchange.results import ExportResult
from parquedb.errors import AlreadyExistsError, InvalidInputError

STDOUT: Final = "-"


@dataclass
class ExportCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        namespace: Whose documents.
        file: Where to; `-` for standard output.
        format: Of the file, whatever its name.
        filter: Which documents, as JSON.
        fields: Which of their fields; see `fields_of`.
        sort: The order; see `sort_of`.
        as_of: A past state; see `as_of_of`.
        overwrite: Whether a file that is there is replaced.
        as_json: Whether to say as JSON what was written.
        screen: Where it says that.
        notes: Where progress goes.
        stream: Standard output, for bytes.
    """

    url: str | None
    namespace: str
    file: str
    format: str | None = None
    filter: str | None = None
    fields: str | None = None
    sort: str | None = None
    as_of: str | None = None
    overwrite: bool = False
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notes: Console = field(default_factory=notices)
    stream: IO[bytes] | None = None

    def run(self) -> bool:
        """Export, and say what was written.

        Raises:
            InvalidInputError: an argument is not understood.
            ParqueDBError: the documents cannot be read, or the file cannot be written.
        """
        format_ = library_format(self.format)
        options = {
            "filter": filter_of(self.filter),
            "fields": fields_of(self.fields),
            "sort": sort_of(self.sort),
            "as_of": as_of_of(self.as_of),
        }
        if self.file == STDOUT and self.as_json:
            raise InvalidInputError("--json says what was written to a file; standard output is the file here")
        self._check_file(format_)
        check_names([self.namespace], place_of(self.url))
        with self._target(format_) as path:
            written = self._written(path, format_, options)
            if self.file == STDOUT:
                self._copy(path)
        self._tell(written)
        return True

    def _check_file(self, format_: str | None) -> None:
        if self.file == STDOUT:
            return
        place = place_of_file(self.file, format_)
        if place.path.is_file() and not self.overwrite:
            raise AlreadyExistsError(f"the file {self.file!r} exists; --overwrite replaces it")

    @contextlib.contextmanager
    def _target(self, format_: str | None) -> Iterator[Path]:
        """Give the file to write; for standard output one for so long, since some formats end with an index."""
        if self.file != STDOUT:
            yield Path(self.file)
            return
        with tempfile.TemporaryDirectory(prefix="parquedb-export-") as folder:
            yield Path(folder) / f"documents.{format_ or 'jsonl'}"

    def _written(self, path: Path, format_: str | None, options: dict[str, Any]) -> ExportResult:
        with opened(self.url) as database, Meter(self.notes) as meter:

            def show(rows: int, count: int) -> None:
                meter.show(self.namespace, rows, None, f"{counted(rows, 'document')}, {size(count)}")

            collection = database.collection(self.namespace)
            return collection.export_file(path, format=format_, overwrite=self.overwrite, on_progress=show, **options)

    def _copy(self, path: Path) -> None:
        stream = sys.stdout.buffer if self.stream is None else self.stream
        with path.open("rb") as source:
            shutil.copyfileobj(source, stream)
        stream.flush()

    def _tell(self, written: ExportResult) -> None:
        facts = {"rows": written.rows, "bytes": written.bytes, "seq": written.seq, "seconds": written.seconds}
        if self.as_json:
            print(json.dumps({"path": str(written.path), **facts}), file=self.screen.file)
            return
        screen, name = (self.notes, "standard output") if self.file == STDOUT else (self.screen, str(written.path))
        screen.print(
            f"[bold]{escape(one_line(name))}[/]: {counted(written.rows, 'document')} as of seq {written.seq:,} "
            f"({size(written.bytes)} in {duration(written.seconds)})"
        )
