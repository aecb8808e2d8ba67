"""`parquedb verify`: what is stored, checked from the command line without starting Ray."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TaskID, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar
from rich.progress import TextColumn as Text

from parquedb.cluster.cli.demo_screen import duration
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.overview.verifying import verify_database
from parquedb.cluster.runtime.naming import resolve
from parquedb.errors import CollectionNotFoundError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.verification.report import DatabaseReport, Finding, VerificationReport
from parquedb.storage.verification.rules import Rule, Severity
from parquedb.storage.verification.verifier import Progress

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFORMATION: "dim"}
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


@dataclass
class Verification:
    """One run of the command.

    Attributes:
        settings: Where the database is.
        namespaces: Which ones to look at; none for all.
        full: Whether to read every byte.
        as_json: Whether to print the report as JSON instead of for people.
        screen: Where the report goes.
        notices: Where progress goes; nothing is shown unless it is a terminal.
    """

    settings: Settings
    namespaces: tuple[str, ...] = ()
    full: bool = True
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notices: Console = field(default_factory=notices)

    @classmethod
    def of(
        cls, url: str | None, namespaces: Iterable[str] = (), *, full: bool = True, as_json: bool = False
    ) -> "Verification":
        """Make one for a URL, or for that of the environment when it is None; the other arguments as of the class.

        Raises:
            ConfigurationError: there is no such place for a database.
        """
        return cls(resolve(load_settings(url)), tuple(namespaces), full, as_json)

    def run(self) -> bool:
        """Look, and print what was found; return whether no promise is broken.

        Raises:
            CollectionNotFoundError: there is nothing to look at.
            ParqueDBError: storage refused, or did not answer.
        """
        bar = Bar(
            Text("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.notices,
            transient=True,
        )
        with ExitStack() as shown:
            if self.notices.is_terminal:
                shown.enter_context(bar)
            meter = _Meter(bar)
            look = verify_database(self.settings, HookRegistry(), self.namespaces, full=self.full, progress=meter.show)
            report = asyncio.run(look)
        if not report.namespaces:
            raise CollectionNotFoundError(f"no namespace is stored in {self.settings.url}")
        if self.as_json:
            print(json.dumps(report.to_json(), indent=2), file=self.screen.file)
        else:
            self._tell(report)
        return report.ok

    def _tell(self, report: DatabaseReport) -> None:
        for one in report.namespaces:
            self._tell_namespace(one)
        if report.findings:
            self.screen.print("[bold]beside the namespaces[/]")
            self._tell_findings(report.findings, report.unnamed)
        errors = sum(len(one.of(Severity.ERROR)) for one in report.namespaces)
        verdict = (
            "[bold green]nothing is broken[/]" if report.ok else f"[bold red]{errors} error{'s' * (errors != 1)}[/]"
        )
        names = len(report.namespaces)
        self.screen.print(f"{names} namespace{'s' * (names != 1)}, {duration(report.duration_s)}: {verdict}")

    def _tell_namespace(self, report: VerificationReport) -> None:
        counts = report.counts
        documents = f"{counts.rows:,} rows" if counts.documents is None else f"{counts.documents:,} documents"
        facts = [
            documents,
            f"{counts.data_files:,} data files",
            f"{counts.objects:,} objects of {size(counts.bytes)}",
            f"as of seq {report.seq:,}",
            f"{report.level}, {size(counts.bytes_read)} read in {duration(report.duration_s)}",
        ]
        self.screen.print(f"[bold]{escape(report.namespace)}[/]: {', '.join(facts)}")
        self._tell_findings(report.findings, report.unnamed)

    def _tell_findings(self, findings: tuple[Finding, ...], unnamed: dict[str, int]) -> None:
        told: set[str] = set()
        quiet: Counter[str] = Counter()
        for finding in findings:
            if finding.severity is Severity.INFORMATION:
                quiet[finding.code] += 1
                continue
            style = _STYLES[finding.severity]
            self.screen.print(f"  [{style}]{finding.severity} {finding.code}[/] {escape(finding.key)}")
            self.screen.print(f"    {escape(finding.message)}")
            if finding.code not in told:
                self.screen.print(f"    [dim]{escape(finding.advice)}[/]")
            told.add(finding.code)
        for code, count in unnamed.items():
            if code in told:
                self.screen.print(f"  and {count:,} more of {code}")
        for code, count in quiet.items():
            total = count + (0 if code in told else unnamed.get(code, 0))
            self.screen.print(f"  [dim]{code} x {total:,}: {Rule[code].title}[/]")


class _Meter:
    """A bar for each namespace."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def show(self, progress: Progress) -> None:
        """Move the namespace's bar."""
        name = progress.namespace
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(escape(name), total=progress.bytes_total)
        self._bar.update(self._tasks[name], completed=progress.bytes_done, total=progress.bytes_total)


def size(count: float) -> str:
    """Word a number of bytes with the unit a reader would choose."""
    number, unit = float(count), 0
    while number >= _STEP and unit < len(_UNITS) - 1:
        number, unit = number / _STEP, unit + 1
    return f"{number:.0f} {_UNITS[unit]}" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"
