"""`parquedb doctor`: each check with what was found, and how to mend it."""

import json
import os
import sys
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.terminal import output
from parquedb.cluster.cli.wording import duration
from parquedb.cluster.doctor.checks import Check, Status
from parquedb.cluster.doctor.doctor import TIMEOUT_S, DoctorReport, doctor

_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red", Status.SKIPPED: "dim"}
_NAME_WIDTH = 17


@dataclass
class DoctorCommand:
    """One run of the command.

    Attributes:
        url: Of the database; None for the one of the environment.
        timeout_s: Seconds for each check.
        as_json: Whether to print JSON instead of for people.
        screen: Where it goes.
    """

    url: str | None = None
    timeout_s: float = TIMEOUT_S
    as_json: bool = False
    screen: Console = field(default_factory=output)

    def run(self) -> bool:
        """Check, and print what was found; return whether nothing has failed."""
        report = doctor(self.url, timeout_s=self.timeout_s)
        if self.as_json:
            print(json.dumps(report.to_json(), indent=2), file=self.screen.file)
        else:
            self._tell(report)
        if report.hanging:
            # Threads of a pool that hang in the system are waited for when Python ends: for ever.
            sys.stdout.flush()
            os._exit(0 if report.ok else 1)
        return report.ok

    def _tell(self, report: DoctorReport) -> None:
        for check in report.checks:
            self._tell_check(check)
        counts = {status: len(report.of(status)) for status in Status}
        bad = [f"{counts[status]} {word}" for status, word in _WORDS.items() if counts[status]]
        verdict = f"[bold red]{', '.join(bad)}[/]" if counts[Status.FAILED] else f"[yellow]{', '.join(bad)}[/]"
        if not bad:
            verdict = "[bold green]nothing is wrong[/]"
        self.screen.print(f"{len(report.checks)} checks, {duration(report.duration_s)}: {verdict}")

    def _tell_check(self, check: Check) -> None:
        style = _STYLES[check.status]
        self.screen.print(f"[{style}]{check.status:<8}[/] {check.name:<{_NAME_WIDTH}} {escape(check.found)}")
        if check.remedy:
            self.screen.print(f"{'':<9}[dim]{'to mend it':<{_NAME_WIDTH}}[/] {escape(check.remedy)}")


_WORDS = {Status.FAILED: "failed", Status.WARNING: "to look at"}
