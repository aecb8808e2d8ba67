"""`parquedb compact`: data files merged until there are as few as useful."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.opening import check_names, opened, place_of
from parquedb.cluster.cli.progress import Meter
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.cli.wording import counted, one_line, size
from parquedb.errors import ParqueDBError


@dataclass
class CompactCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        namespaces: Which ones; none for all.
        timeout_s: Seconds for each.
        as_json: Whether to print JSON.
        screen: Where it says what was done.
        notes: Where progress goes, and what went wrong.
    """

    url: str | None
    namespaces: Sequence[str] = ()
    timeout_s: float = 600.0
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notes: Console = field(default_factory=notices)

    def run(self) -> bool:
        """Merge the files of one namespace after the other, all of them whatever becomes of one.

        Raises:
            ParqueDBError: the first failure, when all others have had their turn.
        """
        check_names(self.namespaces, place_of(self.url))
        failures: dict[str, ParqueDBError] = {}
        done: dict[str, dict[str, int]] = {}
        with opened(self.url) as database, Meter(self.notes) as meter:
            names = list(self.namespaces) or database.namespaces()
            for number, name in enumerate(names):
                meter.show("compacting", number, len(names), one_line(name))
                try:
                    done[name] = database.collection(name).compact(timeout_s=self.timeout_s)
                except ParqueDBError as error:
                    failures[name] = error
        # Not before: a bar may be where these lines go.
        if self.as_json:
            print(json.dumps({"namespaces": done}), file=self.screen.file)
        else:
            for name, counts in done.items():
                self._tell(name, counts)
        for name, error in list(failures.items())[1:]:
            self.notes.print(f"[red]{escape(one_line(name))}[/]: {escape(error.message)}")
        if failures:
            raise next(iter(failures.values()))
        return True

    def _tell(self, name: str, done: dict[str, int]) -> None:
        if not done["compactions"]:
            said = "nothing to merge"
        else:
            said = (
                f"{counted(done['files_in'], 'file')} into {done['files_out']:,}, {counted(done['rows'], 'row')}, "
                f"{counted(done['rows_dropped'], 'dead row')} dropped, "
                f"{size(done['bytes_in'])} into {size(done['bytes_out'])}"
            )
        self.screen.print(f"[bold]{escape(one_line(name))}[/]: {said}")
