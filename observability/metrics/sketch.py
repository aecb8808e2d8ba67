"""Quantiles of many durations in little memory: counts in bins whose widths grow with the value (a DDSketch).

    bin i holds the values in (BASE ** i, BASE ** (i + 1)]; its answer is off by at most RELATIVE_ERROR

The bins are those of OpenTelemetry's exponential histogram at scale 5. Two sketches merge by adding their counts, so
the order of merging cannot matter, and a bin's count only ever grows. Sketches that bound the error of the rank instead
(KLL, t-digest) are further off than 2 % where it matters, at the 99th percentile of durations.

Source:
    Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB 2019.
"""

from dataclasses import dataclass, field
from math import ceil, log2
from typing import Final

_BINS_PER_OCTAVE: Final = 32

BASE: Final = 2.0 ** (1 / _BINS_PER_OCTAVE)
"""Upper over lower bound of a bin."""

RELATIVE_ERROR: Final = (BASE - 1) / (BASE + 1)
"""How far a quantile may be from the exact one, as a part of it: 1.1 %."""

MIN_S: Final = 2.0**-20
MAX_S: Final = 2.0**17
"""Smaller and larger values (seconds: a microsecond, a day and a half) count as these: at most 1 185 bins."""


@dataclass(slots=True)
class QuantileSketch:
    """How often values fell into each bin.

    Attributes:
        bins: Count by index of the bin; a bin without values is absent.
    """

    bins: dict[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Values added so far."""
        return sum(self.bins.values())

    def add(self, value: float, weight: int = 1) -> None:
        """Count a value `weight` times."""
        index = bin_of(value)
        self.bins[index] = self.bins.get(index, 0) + weight

    def quantile(self, fraction: float) -> float | None:
        """Return the value that `fraction` (0 to 1) of the values do not exceed; None when there are none."""
        total = self.count
        if not total:
            return None
        rank = fraction * (total - 1)
        seen = 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen > rank:
                return _middle(index)
        return _middle(max(self.bins))

    def copy(self) -> "QuantileSketch":
        """Return one that later values do not change."""
        return QuantileSketch(dict(self.bins))

    def __add__(self, other: "QuantileSketch") -> "QuantileSketch":
        bins = dict(self.bins)
        for index, count in other.bins.items():
            bins[index] = bins.get(index, 0) + count
        return QuantileSketch(bins)


def bin_of(value: float) -> int:
    """Return the index of the bin that holds a value."""
    # Not `min(max(...))`: this runs for every operation.
    if value <= MIN_S:
        value = MIN_S
    elif value > MAX_S:
        value = MAX_S
    return ceil(log2(value) * _BINS_PER_OCTAVE) - 1


def _middle(index: int) -> float:
    # The one value whose relative distance to both ends of the bin is the same.
    return BASE**index * 2 * BASE / (BASE + 1)
