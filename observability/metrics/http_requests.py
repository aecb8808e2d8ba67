"""Counts of HTTP requests that a process answers, by method, route and status.

Source:
    OpenTelemetry semantic conventions, "HTTP server metrics" (stable): names and bucket bounds.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, NamedTuple

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds (inclusive) of the buckets, seconds."""

KINDS_MAX: Final = 1000
"""Combinations of method, route and status that are told apart; the others are counted as one."""


class RequestKind(NamedTuple):
    """What requests are told apart by.

    Attributes:
        method: Of the request, or `_OTHER`.
        route: The template of its path; empty for a path that is none.
        status: Of the answer; 0 where there was none.
    """

    method: str
    route: str
    status: int


OTHERS: Final = RequestKind("_OTHER", "", 0)


class RequestCounts:
    """Requests of one kind.

    Attributes:
        sum_s: All their durations together.
        buckets: How many took at most as long as each of `BOUNDS_S` but longer than the one before, and how many
            longer than all.
    """

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.sum_s = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)


class HttpRequests:
    """The requests of one process. Counted on one event loop, read by any thread.

    Attributes:
        active: Requests that have no answer yet.
        unforeseen: Requests, and operations of requests, that failed in a way nobody foresaw: bugs.
        started_ns: When counting began, nanoseconds since 1970.
    """

    def __init__(self) -> None:
        self.started_ns = time.time_ns()
        self.active = 0
        self.unforeseen = 0
        self._counts: dict[RequestKind, RequestCounts] = {}

    def answered(self, kind: RequestKind, took_s: float) -> None:
        """Count a request that has been answered."""
        counts = self._counts.get(kind)
        if counts is None:
            known = kind if len(self._counts) < KINDS_MAX else OTHERS
            counts = self._counts.setdefault(known, RequestCounts())
        counts.sum_s += took_s
        counts.buckets[bisect_left(BOUNDS_S, took_s)] += 1

    def __iter__(self) -> Iterator[tuple[RequestKind, RequestCounts]]:
        # A copy: another thread may look while there come others.
        return iter(self._counts.copy().items())
