"""How often somebody may do something: a bucket that is refilled evenly, kept as one time for each caller.

    tat        theoretical arrival time: when the bucket is full again
    allowed    while tat, moved on by the price of one, is at most one window ahead of now

A whole window's requests may come at once; after that, one comes free every `window_s / quota` seconds, so that nobody
gains anything at the edge of a window. Libraries for this count in a store of their own or keep every caller for ever;
this is a dict with a bound.

Source:
    The generic cell rate algorithm, ITU-T I.371, annex A (virtual scheduling).
"""

import math
from collections.abc import Hashable
from typing import NamedTuple

from parquedb.cluster.gateway.access.recent import Recent

_ROUNDING = 1e-9
"""Share of a window by which sums of floats may be off."""


class Standing(NamedTuple):
    """What a caller has left.

    Attributes:
        allowed: Whether this one was within the limit.
        quota: How many may come in one window.
        left: How many may still come at once.
        full_s: Seconds until all of them may again.
        retry_s: Seconds until the next one may; 0 when one may now.
    """

    allowed: bool
    quota: int
    left: int
    full_s: float
    retry_s: float


class Rates:
    """What callers have used up lately. For one thread.

    Args:
        quota: How many may come in one window, at least 1.
        window_s: Seconds of a window, above 0.
        callers_max: Callers that are remembered. Who has not come for longest is forgotten, and begins anew.
    """

    def __init__(self, quota: int, window_s: float, callers_max: int) -> None:
        self._quota = quota
        self._window_s = window_s
        self._full_at_s: Recent[Hashable, float] = Recent(callers_max)

    def take(self, caller: Hashable, now_s: float, quota: int | None = None) -> Standing:
        """Count one for a caller, unless it is one too many; `quota` is the caller's own, if it has one."""
        return self._look(caller, now_s, quota or self._quota, price=1)

    def look(self, caller: Hashable, now_s: float) -> Standing:
        """Return whether one more would be allowed, and count nothing."""
        return self._look(caller, now_s, self._quota, price=0)

    def _look(self, caller: Hashable, now_s: float, quota: int, *, price: int) -> Standing:
        each_s = self._window_s / quota
        full_at_s = max(self._full_at_s.get(caller) or now_s, now_s)
        room_s = self._window_s * (1 + _ROUNDING) - (full_at_s - now_s)
        allowed = room_s >= each_s
        if allowed and price:
            full_at_s += each_s
            room_s -= each_s
            self._full_at_s.put(caller, full_at_s)
        left = max(0, math.floor(room_s / each_s))
        return Standing(allowed, quota, left, full_at_s - now_s, 0.0 if left else each_s - room_s)
