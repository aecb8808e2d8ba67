"""`parquedb verify`: what is stored, checked from the command line without starting Ray."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.opening import storage_of
from parquedb.cluster.cli.progress import Meter
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.cli.wording import counted, duration, size
from parquedb.cluster.overview.verifying import verify_database
from parquedb.errors import CollectionNotFoundError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.storage.verification.report import DatabaseReport, Finding, VerificationReport
from parquedb.storage.verification.rules import Rule, Severity
from parquedb.storage.verification.verifier import Progress

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFORMATION: "dim"}


@dataclass
class Verification:
    """One run of the command.

    Attributes:
        settings: Where the database is.
        namespaces: Which ones to look at; none for all.
        full: Whether to read every byte.
        as_json: Whether to print the report as JSON instead of for people.
        screen: Where the report goes.
        notices: Where progress goes.
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
        return cls(storage_of(url, "verify"), tuple(namespaces), full, as_json)

    def run(self) -> bool:
        """Look, and print what was found; return whether no promise is broken.

        Raises:
            CollectionNotFoundError: there is nothing to look at.
            ParqueDBError: storage refused, or did not answer.
        """
        with Meter(self.notices) as meter:

            def show(progress: Progress) -> None:
                said = f"{size(progress.bytes_done)} of {size(progress.bytes_total)}"
                meter.show(progress.namespace, progress.bytes_done, progress.bytes_total, said)

            look = verify_database(self.settings, HookRegistry(), self.namespaces, full=self.full, progress=show)
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
        verdict = "[bold green]nothing is broken[/]" if report.ok else f"[bold red]{counted(errors, 'error')}[/]"
        names = counted(len(report.namespaces), "namespace")
        self.screen.print(f"{names}, {duration(report.duration_s)}: {verdict}")

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
