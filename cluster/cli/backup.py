"""`parquedb backup` and `parquedb restore`: copies of a database from the command line, without starting Ray."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TaskID, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar
from rich.progress import TextColumn as Text

from parquedb.cluster.backup.backups import backup_database, list_backup, restore_database, verify_backup
from parquedb.cluster.backup.places import check_stored
from parquedb.cluster.backup.reports import BackupPoint, inspection_json
from parquedb.cluster.cli.tables import FittedTable
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.cli.wording import duration, size
from parquedb.cluster.runtime.naming import resolve
from parquedb.errors import SnapshotNotFoundError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.backup.backup import Progress

T = TypeVar("T")

_FAULTS_SHOWN = 20
_NAMES_SHOWN = 4


@dataclass
class _Command:
    """What the commands have in common.

    Attributes:
        settings: Where the database is, and how its backups are reached.
        archive: URL of the backups.
        as_json: Whether to print JSON instead of for people.
        screen: Where the answer goes.
        notices: Where progress goes; nothing is shown unless it is a terminal.
    """

    settings: Settings
    archive: str
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notices: Console = field(default_factory=notices)

    def _run(self, work: Coroutine[Any, Any, T], meter: Meter) -> T:
        with ExitStack() as shown:
            if self.notices.is_terminal:
                shown.enter_context(meter.bar(self.notices))
            return asyncio.run(work)

    def _print_json(self, answer: Any) -> None:
        print(json.dumps(answer, indent=2), file=self.screen.file)


@dataclass
class BackupCommand(_Command):
    """One run of `parquedb backup`.

    Attributes:
        namespaces: Which ones to copy; none for all.
        keep: How many points of each namespace stay; None for all.
    """

    namespaces: tuple[str, ...] = ()
    keep: int | None = None

    @classmethod
    def of(  # noqa: PLR0913 - the command line
        cls,
        url: str | None,
        target: str,
        namespaces: Iterable[str] = (),
        keep: int | None = None,
        parallel: int | None = None,
        *,
        as_json: bool = False,
    ) -> BackupCommand:
        """Make one for a URL, or for that of the environment when it is None.

        Raises:
            ConfigurationError: there is no such place for a database.
        """
        return cls(settings_of(url, parallel), target, as_json, namespaces=tuple(namespaces), keep=keep)

    def run(self) -> bool:
        """Copy, and print what came of it.

        Raises:
            ParqueDBError: it could not be done; see `backup_database`.
        """
        meter = Meter()
        made = backup_database(
            self.settings, HookRegistry(), self.archive, self.namespaces, keep=self.keep, progress=meter.show
        )
        report = self._run(made, meter)
        if self.as_json:
            self._print_json(report.to_json())
            return True
        point = report.point
        self.screen.print(f"[bold]{escape(point.point)}[/]: {_names(point.namespaces)}, {_amount(point)}")
        new = f"{counted(report.objects_copied, 'object')} of {size(report.bytes_copied)}"
        self.screen.print(f"  copied in {duration(report.duration_s)}: {new}; the rest was there")
        if report.pruned is not None and (report.pruned.points or report.pruned.objects):
            gone = f"{counted(report.pruned.objects, 'object')} of {size(report.pruned.bytes)}"
            self.screen.print(f"  removed: {counted(len(report.pruned.points), 'point')}, {gone}")
        if report.not_pruned is not None:
            self.screen.print(f"  [yellow]nothing was removed[/]: {escape(report.not_pruned)}")
        return True


@dataclass
class BackupLook(_Command):
    """One run of `parquedb backup --list` or `--verify`.

    Attributes:
        point: Which one to read; None for all.
    """

    point: str | None = None

    @classmethod
    def of(
        cls, archive: str, point: str | None = None, parallel: int | None = None, *, as_json: bool = False
    ) -> BackupLook:
        """Make one for an archive; raises like `BackupCommand.of`."""
        return cls(settings_of(archive, parallel), archive, as_json, point=point)

    def list(self) -> bool:
        """Print the points, the newest last.

        Raises:
            SnapshotNotFoundError: there is none.
            CorruptionError, NewerFormatError: the catalogue of a point cannot be read; the others have been printed.
            ParqueDBError: it could not be looked at.
        """
        listing = self._run(list_backup(self.settings, HookRegistry(), self.archive), Meter())
        if self.as_json:
            self._print_json([one.to_json() for one in listing.points])
        elif listing.points:
            self._tell(listing.points)
        for error in listing.unreadable:
            raise error
        if not listing.points:
            raise SnapshotNotFoundError(f"no backup is stored in {self.archive}")
        return True

    def _tell(self, points: Sequence[BackupPoint]) -> None:
        columns = ("point", "time (UTC)", "of", "namespaces", ">objects", ">size")
        table = FittedTable(*columns, header_style="dim")
        for one in points:
            names = _names(one.namespaces)
            when = f"{one.time:%Y-%m-%d %H:%M:%S}"
            table.add_row(one.point, when, escape(one.source), names, f"{one.objects:,}", size(one.bytes))
        self.screen.print(table)

    def verify(self) -> bool:
        """Read, and print what is wrong; return whether nothing is.

        Raises:
            ParqueDBError: it could not be looked at; see `verify_backup`.
        """
        meter = Meter()
        look = verify_backup(self.settings, HookRegistry(), self.archive, point=self.point, progress=meter.show)
        found = self._run(look, meter)
        if self.as_json:
            self._print_json(inspection_json(found))
            return found.ok
        for fault in found.faults[:_FAULTS_SHOWN]:
            self.screen.print(f"[bold red]damaged[/] {escape(fault.key)}: {escape(fault.reason)}")
            self.screen.print(f"  [dim]cannot be restored: {', '.join(fault.points)}[/]")
        if len(found.faults) > _FAULTS_SHOWN:
            self.screen.print(f"and {len(found.faults) - _FAULTS_SHOWN} more (--json shows all)")
        verdict = "[bold green]nothing is damaged[/]"
        if not found.ok:
            verdict = f"[bold red]{counted(len(found.faults), 'object')} damaged[/]; the next backup makes them anew"
            verdict += " once they are removed, where the database still has them"
        read = f"{counted(found.objects, 'object')} of {size(found.bytes)} read"
        self.screen.print(f"{counted(len(found.points), 'point')}, {read}: {verdict}")
        return found.ok


@dataclass
class RestoreCommand(_Command):
    """One run of `parquedb restore`.

    Attributes:
        namespaces: Which ones; none for all of the point.
        point: Its name, or the beginning of it.
        as_name: What the one namespace is to be called; None for what it was.
    """

    namespaces: tuple[str, ...] = ()
    point: str = "latest"
    as_name: str | None = None

    @classmethod
    def of(  # noqa: PLR0913, PLR0917 - the command line
        cls,
        archive: str,
        url: str | None,
        namespaces: Iterable[str] = (),
        point: str = "latest",
        as_name: str | None = None,
        parallel: int | None = None,
        *,
        as_json: bool = False,
    ) -> RestoreCommand:
        """Make one; raises like `BackupCommand.of`."""
        settings, names = settings_of(url, parallel), tuple(namespaces)
        return cls(settings, archive, as_json, namespaces=names, point=point, as_name=as_name)

    def run(self) -> bool:
        """Restore, and print what came of it.

        Raises:
            ParqueDBError: it could not be done; see `restore_database`.
        """
        meter = Meter()
        made = restore_database(
            self.settings,
            HookRegistry(),
            self.archive,
            self.namespaces,
            point=self.point,
            as_name=self.as_name,
            progress=meter.show,
        )
        report = self._run(made, meter)
        if self.as_json:
            self._print_json(report.to_json())
            return True
        self.screen.print(f"[bold]{escape(report.url)}[/] is as of point {report.point}: {_amount(report)}")
        for name, seq in report.namespaces.items():
            self.screen.print(f"  {escape(name)}: as of seq {seq:,}")
        self.screen.print(
            f"restored in {duration(report.duration_s)}; [dim]parquedb verify looks at every byte of it[/]"
        )
        return True


class Meter:
    """A bar for each namespace."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._tasks: dict[str, TaskID] = {}

    def bar(self, console: Console) -> Bar:
        """Return what is to be shown meanwhile."""
        shown = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._bar = Bar(Text("{task.description}"), *shown, console=console, transient=True)
        return self._bar

    def show(self, progress: Progress) -> None:
        """Move the namespace's bar."""
        if self._bar is None:
            return
        name = progress.namespace
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(escape(name or "reading"), total=progress.bytes_total)
        self._bar.update(self._tasks[name], completed=progress.bytes_done, total=progress.bytes_total)


def settings_of(url: str | None, parallel: int | None) -> Settings:
    """Return the settings for a place.

    Raises:
        ConfigurationError: it cannot be one.
    """
    group = None if parallel is None else {"parallel": parallel}
    settings = load_settings(url, backup=group)
    check_stored(settings)
    return resolve(settings)


def counted(number: int, what: str) -> str:
    """Word a number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _names(names: Iterable[str]) -> str:
    known = [escape(name) for name in names]
    more = len(known) - _NAMES_SHOWN
    return ", ".join(known[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _amount(one: Any) -> str:
    return f"{counted(one.objects, 'object')} of {size(one.bytes)}"
