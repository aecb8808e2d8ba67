"""How much goes on: what owners have done since a moment ago.

Owners count from their own beginning, so two looks give what happened in between, whichever replica of the gateway was
asked before. Here the looks of one gateway are kept for a few seconds; history is the page's own business.
"""

from collections import deque
from collections.abc import Iterable, Mapping
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
        interval_s: In so many seconds of its own clock, more than 0.
        reads: Queries.
        writes: Mutations.
    """

    interval_s: float
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
        interval_s: Between the two looks; None where there was no earlier one to compare with.
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
        earlier = [look for _, look in looks]
        interval_s = now_s - looks[0][0] if looks else 0.0
        looks.append((now_s, owners))
        if interval_s <= 0:
            return Flows(None, {})
        flows = {name: _between(_first(earlier, name), one, interval_s) for name, one in owners.items()}
        return Flows(interval_s, {name: flow for name, flow in flows.items() if flow is not None})


def _first(looks: Iterable[Mapping[str, OwnerSurvey]], namespace: str) -> OwnerSurvey | None:
    """Return the earliest answer of an owner: one that was silent for a look has answered in a later one."""
    return next((look[namespace] for look in looks if namespace in look), None)


def _between(before: OwnerSurvey | None, now: OwnerSurvey, interval_s: float) -> Flow | None:
    """Return what an owner did since an earlier answer, by its own clock.

    Looks take as long as the slowest owner lets them: the time between two of them is not the one between two answers.
    """
    if before is not None and (before.host, before.pid) == (now.host, now.pid) and before.age_s <= now.age_s:
        took_s = now.age_s - before.age_s
        return Flow(took_s, _less(now.reads, before.reads), _less(now.writes, before.writes)) if took_s else None
    if before is None and now.age_s > interval_s:
        return None
    # Its process began since then, perhaps in the place of another one: all that it has counted is new.
    return Flow(max(now.age_s, interval_s), now.reads, now.writes)


def _less(now: Work, before: Work) -> Work:
    bins = {place: count - before.sketch.bins.get(place, 0) for place, count in now.sketch.bins.items()}
    return Work(
        max(0, now.count - before.count),
        max(0, now.errors - before.errors),
        QuantileSketch({place: count for place, count in bins.items() if count > 0}),
    )
