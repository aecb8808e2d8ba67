"""What a slice is told and what it comes to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.chaos.judge import Judgement


@dataclass(frozen=True)
class Task:
    """What a slice is told.

    Attributes:
        place: `s3` or `disk`.
        seconds: How long faults happen; starting, quiet and verdict come on top.
        lost_percent: Share of Ray's own calls that get lost, in percent.
    """

    seed: int
    place: str
    seconds: float
    lost_percent: int = 0


@dataclass
class Summary:
    """What a slice came to; counts are sums over the namespaces, times the longest."""

    seed: int
    place: str
    lost_percent: int
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    requests_struck: int = 0
    calls_lost: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unknown_applied: int = 0
    settled_by_repetition: int = 0
    by_error: dict[str, int] = field(default_factory=dict)
    reads: int = 0
    totals: int = 0
    owners: int = 0
    checkpoints: int = 0
    longest_silence_s: float = 0.0
    recovery_s: float = 0.0
    violations: list[str] = field(default_factory=list)

    def add(self, found: Judgement) -> None:
        """Add what was found in one namespace."""
        self.acknowledged += found.verdict.acknowledged
        self.refused += found.verdict.refused
        self.unknown += found.verdict.unknown
        self.unknown_applied += found.verdict.unknown_applied
        self.settled_by_repetition += found.repeated
        self.by_error = dict(Counter(self.by_error) + found.verdict.by_error)
        self.reads += found.reads
        self.totals += found.totals
        self.owners += found.hand_overs + 1
        self.longest_silence_s = max(self.longest_silence_s, found.silence_s)
        self.violations += found.violations

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        errors = ", ".join(f"{name} {count}" for name, count in sorted(self.by_error.items()))
        lines = [
            f"seed {self.seed} on {self.place}, {self.lost_percent} % of Ray's calls lost, {self.seconds:.0f} s",
            f"  faults {sum(self.faults.values())} ({faults}; {self.skipped} skipped)",
            f"  requests struck on their way to the store {self.requests_struck}, calls lost by Ray {self.calls_lost}",
            f"  acknowledged {self.acknowledged}, refused {self.refused}, unknown {self.unknown} "
            f"(applied {self.unknown_applied}), settled by repetition {self.settled_by_repetition}",
            f"  errors: {errors or 'none'}",
            f"  reads {self.reads}, totals {self.totals}, owners {self.owners}, checkpoints {self.checkpoints}",
            f"  longest time without an acknowledgement {self.longest_silence_s:.1f} s; after the last fault all went "
            f"on within {self.recovery_s:.1f} s",
            f"  violations {len(self.violations)}",
            *(f"    {violation}" for violation in self.violations),
        ]
        return "\n".join(lines)


def together(summaries: Sequence[Summary]) -> str:
    """Return one line about several slices."""
    faults = sum(sum(summary.faults.values()) for summary in summaries)
    return (
        f"{len(summaries)} slices, {sum(summary.seconds for summary in summaries) / 60:.1f} minutes: "
        f"faults {faults}, acknowledged {sum(summary.acknowledged for summary in summaries)}, "
        f"refused {sum(summary.refused for summary in summaries)}, "
        f"unknown {sum(summary.unknown for summary in summaries)}, "
        f"violations {sum(len(summary.violations) for summary in summaries)}, longest time without an acknowledgement "
        f"{max(summary.longest_silence_s for summary in summaries):.1f} s"
    )
