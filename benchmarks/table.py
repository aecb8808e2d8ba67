"""What a measurement says, and how it is printed: rows, the machine they were measured on, a markdown table."""

import datetime
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("ray", "pyarrow", "duckdb", "s3fs", "msgspec")
COLUMNS = ("what", "figure", "peer", "ratio", "spread", "bar", "verdict")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        figure: Ours, with its unit.
        peer: What it stands beside, with its unit; empty when it stands alone.
        ratio: Figure to peer, or the figure itself where the bar is about it; None when there is nothing to compare.
        bar: `>=` or `<=` and the number that the ratio has to meet; None when it is only reported.
        spread: Lowest and highest ratio of the rounds.
        note: What a reader must know; printed below the table.
    """

    what: str
    figure: str
    peer: str = ""
    ratio: float | None = None
    bar: tuple[str, float] | None = None
    spread: tuple[float, float] | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`pass`, `FAIL`, or `report` where there is no bar."""
        if self.bar is None or self.ratio is None:
            return "report"
        sign, number = self.bar
        met = self.ratio >= number if sign == ">=" else self.ratio <= number
        return "pass" if met else "FAIL"

    def cells(self) -> tuple[str, ...]:
        """The cells in the order of `COLUMNS`."""
        sign = {">=": "≥", "<=": "≤"}
        return (
            self.what,
            self.figure,
            self.peer or "-",
            "-" if self.ratio is None else quantity(self.ratio),
            "-" if self.spread is None else f"{quantity(self.spread[0])} to {quantity(self.spread[1])}",
            "-" if self.bar is None else f"{sign[self.bar[0]]} {self.bar[1]:g}",
            self.verdict,
        )


def compared(  # noqa: PLR0913 - a row has as many cells
    what: str,
    ours: Sequence[float],
    peers: Sequence[float],
    *,
    unit: str,
    peer: str,
    bar: tuple[str, float] | None = None,
    note: str = "",
) -> Row:
    """Make a row of the medians of rounds in which ours and the peer took turns."""
    ratios = [mine / theirs for mine, theirs in zip(ours, peers, strict=True)]
    mine, theirs = statistics.median(ours), statistics.median(peers)
    return Row(
        what,
        f"{quantity(mine)} {unit}",
        f"{quantity(theirs)} {unit} ({peer})",
        mine / theirs,
        bar,
        (min(ratios), max(ratios)),
        note,
    )


def quantity(number: float) -> str:
    """A number with three digits that mean something, and thin groups of thousands."""
    return f"{number:,.0f}".replace(",", " ") if number >= 100 else f"{number:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def load() -> tuple[float, ...]:
    """The load averages of 1, 5 and 15 minutes."""
    return tuple(round(value, 2) for value in os.getloadavg())


def machine(directory: Path) -> dict[str, str]:
    """Describe what this runs on; holds no path and no name of the machine."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return {
        "processor": _first_field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "file system": _file_system(directory),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    } | versions


def _first_field(file: str, field: str) -> str:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _file_system(directory: Path) -> str:
    """The type of the file system that holds `directory`, such as ext4."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [(len(point), kind) for point, kind in mounts if directory.resolve().is_relative_to(point)]
    return max(above)[1] if above else "unknown"


def markdown(rows: Sequence[Row], facts: dict[str, str]) -> str:
    """The table, with the machine above and the notes below it."""
    lines = ["# Benchmarks", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "A ratio is figure to peer, both measured in this run by turns; spread is its range over the rounds."]
    lines += ["", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    notes: list[str] = []
    for row in rows:
        cells = list(row.cells())
        if row.note:
            if row.note not in notes:
                notes.append(row.note)
            cells[0] += f" [{notes.index(row.note) + 1}]"
        lines.append("| " + " | ".join(cells) + " |")
    lines += [""] + [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join(lines).rstrip() + "\n"


def plain(rows: Sequence[Row], facts: dict[str, str]) -> dict[str, Any]:
    """The same as plain data."""
    return {"facts": facts, "rows": [asdict(row) | {"verdict": row.verdict} for row in rows]}


def today() -> str:
    """The date and time, in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
