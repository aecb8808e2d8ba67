"""How much goes on: what owners have done since a moment ago.

Owners count from their own beginning, so two looks give what happened in between, whichever replica of the gateway was
asked before. Here the looks of one gateway are kept for a few seconds; history is the page's own business.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from parquedb.actors.reporting.survey import OwnerSurvey, Work
from parquedb.observability.metrics.sketch import QuantileSketch

WINDOW_S: Final = 10.0
"""Seconds that numbers are about, once somebody has looked for so long: fewer would make lines nervous."""

STALE_S: Final = 60.0
"""Seconds after which an earlier look says nothing about now."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What an owner did in an interval.

    Attributes:
        reads: Queries.
        writes: Mutations.
    """

    reads: Work
    writes: Work

    @property
    def count(self) -> int:
        """Operations of both kinds."""
        return self.reads.count + self.writes.count


@dataclass(frozen=True, slots=True)
class Flows:
    """What all owners did.

    Attributes:
        interval_s: In so many seconds; None where there was no earlier look to compare with.
        owners: By namespace; those are missing that came into sight since.
    """

    interval_s: float | None
    owners: Mapping[str, Flow]


class Rates:
    """The looks of the last seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[str, OwnerSurvey]]] = deque()

    def since(self, now_s: float, owners: Mapping[str, OwnerSurvey]) -> Flows:
        """Return what was done between an earlier look and this one, which is kept.

        Args:
            now_s: Monotonic seconds.
            owners: What they say now, by namespace.
        """
        looks = self._looks
        # The youngest that is old enough is compared with; those before it are of no use any more.
        while len(looks) > 1 and now_s - looks[1][0] >= WINDOW_S:
            looks.popleft()
        if looks and now_s - looks[0][0] > STALE_S:
            looks.clear()
        before_s, before = looks[0] if looks else (now_s, {})
        looks.append((now_s, owners))
        interval_s = now_s - before_s
        if interval_s <= 0:
            return Flows(None, {})
        flows = {name: _between(before.get(name), one, interval_s) for name, one in owners.items()}
        return Flows(interval_s, {name: flow for name, flow in flows.items() if flow is not None})


def _between(before: OwnerSurvey | None, now: OwnerSurvey, interval_s: float) -> Flow | None:
    if now.age_s <= interval_s:
        # Its process began since then, perhaps in the place of another one: all that it has counted is new.
        return Flow(now.reads, now.writes)
    if before is None:
        return None
    return Flow(_less(now.reads, before.reads), _less(now.writes, before.writes))


def _less(now: Work, before: Work) -> Work:
    bins = {place: count - before.sketch.bins.get(place, 0) for place, count in now.sketch.bins.items()}
    return Work(
        max(0, now.count - before.count),
        max(0, now.errors - before.errors),
        QuantileSketch({place: count for place, count in bins.items() if count > 0}),
    )
