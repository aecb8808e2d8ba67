"""What a verification found: typed, bounded, and plain data when asked for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from parquedb.storage.verification.rules import Rule, Severity

FINDINGS_MAX: Final = 20
"""Findings of one rule in a report; of the rest it says how many there are."""


class Level(StrEnum):
    """How closely a namespace is looked at."""

    QUICK = "quick"
    """Log and manifest whole; of everything else existence and size, and the footers of data files."""

    FULL = "full"
    """Every byte: checksums, pages, documents, and whether log, history and files tell the same story."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule at one object.

    Attributes:
        code: Name of the `Rule`.
        severity: How much it matters.
        key: Name of the object, relative to the database.
        message: What was expected and what was found.
        advice: What to do about it.
    """

    code: str
    severity: Severity
    key: str
    message: str
    advice: str

    @classmethod
    def of(cls, rule: Rule, key: str, message: str, severity: Severity | None = None) -> Finding:
        """Return a finding with the severity and the advice of its rule, unless told otherwise."""
        return cls(rule.name, severity or rule.severity, key, f"{rule.title}: {message}", rule.advice)


class Findings:
    """Findings being collected, at most `FINDINGS_MAX` of each rule and severity; the rest are counted."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._counts: Counter[tuple[str, Severity]] = Counter()

    def add(self, rule: Rule, key: str, message: str, severity: Severity | None = None, *, times: int = 1) -> None:
        """Note that a rule is broken; `times` counts places of which the message names one."""
        self._note(Finding.of(rule, key, message, severity), times)

    def extend(self, others: Iterable[Finding]) -> None:
        """Take in what was found elsewhere."""
        for finding in others:
            self._note(finding, 1)

    def absorb(self, other: Findings) -> None:
        """Take in another collection, with its counts."""
        self.extend(other._kept)
        for code, count in other._unkept().items():
            self._counts[code] += count

    def _note(self, finding: Finding, times: int) -> None:
        kind = finding.code, finding.severity
        if self._counts[kind] < FINDINGS_MAX:
            self._kept.append(finding)
        self._counts[kind] += times

    @property
    def kept(self) -> tuple[Finding, ...]:
        """The findings themselves, the gravest first, otherwise as they were found."""
        order = list(Severity)
        return tuple(sorted(self._kept, key=lambda finding: order.index(finding.severity)))

    @property
    def unnamed(self) -> dict[str, int]:
        """How many more there are than `kept`, by code."""
        total: Counter[str] = Counter()
        for (code, _), count in self._unkept().items():
            total[code] += count
        return {code: count for code, count in total.items() if count}

    def _unkept(self) -> Counter[tuple[str, Severity]]:
        more = self._counts.copy()
        more.subtract(Counter((finding.code, finding.severity) for finding in self._kept))
        return more

    def any_of(self, rules: Iterable[Rule]) -> bool:
        """Whether one of these rules is broken."""
        names = {rule.name for rule in rules}
        return any(code in names for code, _ in self._counts)


@dataclass(slots=True)
class Counts:
    """What was looked at.

    Attributes:
        objects: Stored objects of the namespace.
        bytes: Their size.
        bytes_read: Bytes fetched for this.
        log_entries: Entries above the newest manifest.
        data_files: Of the current state.
        rows: In them, dead ones included; `full` counted them.
        documents: Live documents, soft-deleted ones included; None where only `full` could tell.
        events: Changes that the kept history and the log hold; None as above.
    """

    objects: int = 0
    bytes: int = 0
    bytes_read: int = 0
    log_entries: int = 0
    data_files: int = 0
    rows: int = 0
    documents: int | None = None
    events: int | None = None


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What a look at one namespace found.

    Attributes:
        namespace: Its name.
        level: How closely it was looked at.
        findings: The gravest first.
        unnamed: Of a code with more than `FINDINGS_MAX` findings: how many are not in `findings`.
        counts: What was looked at.
        tail: Position of the last log entry: the state that this report is about.
        seq: Seq of the last event as of it.
        history_from: Seq of the first event whose effect on the documents could be checked; None: none was.
        duration_s: Seconds it took.
    """

    namespace: str
    level: Level
    findings: tuple[Finding, ...]
    counts: Counts
    tail: int = 0
    seq: int = 0
    history_from: int | None = None
    unnamed: dict[str, int] = field(default_factory=dict)
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no promise is broken; warnings are no errors."""
        return not self.of(Severity.ERROR)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What a look at several namespaces, and at what lies beside them, found.

    Attributes:
        namespaces: One report each, in the order of their names.
        findings: About what belongs to no namespace.
        unnamed: As in `VerificationReport`.
        duration_s: Seconds it took.
    """

    namespaces: tuple[VerificationReport, ...]
    findings: tuple[Finding, ...] = ()
    unnamed: dict[str, int] = field(default_factory=dict)
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no promise is broken in any of them."""
        return all(report.ok for report in self.namespaces)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        reports = [report.to_json() for report in self.namespaces]
        return {"ok": self.ok, **asdict(self), "namespaces": reports}
