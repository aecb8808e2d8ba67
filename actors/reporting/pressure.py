"""When a queue began to refuse and when it stopped: two records instead of one for each refusal."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from parquedb.actors.reporting import journal
from parquedb.admission import QueueBounds
from parquedb.clock import Clock
from parquedb.errors import BackpressureError

CALM_S: Final = 5.0
"""Seconds without a refusal after which a queue that has room counts as calm."""

APART_S: Final = 10.0
"""Seconds from an end that was told to the next beginning that is: a queue may fill and empty many times a second."""


class Pressure:
    """The refusals of one queue. Any thread may call it; the log is written with no lock held.

    Args:
        bounds: Of the queue; half of them is room.
        now: Monotonic seconds.
        began: Told of the first refusal.
        ended: Told how many were refused, and for how many seconds it lasted.
    """

    __slots__ = (
        "_began",
        "_bounds",
        "_ended",
        "_last_s",
        "_lock",
        "_now",
        "_quiet_to_s",
        "_refused",
        "_since_s",
        "lasts",
    )

    def __init__(
        self,
        bounds: QueueBounds,
        now: Callable[[], float],
        *,
        began: Callable[[BackpressureError], object],
        ended: Callable[[int, float], object],
    ) -> None:
        self._bounds = bounds
        self._now = now
        self._began = began
        self._ended = ended
        self._lock = threading.Lock()
        self._last_s = self._quiet_to_s = float("-inf")
        self._since_s: float | None = None
        self._refused = 0
        self.lasts = False
        """Whether something has been refused and there is no room yet."""

    def refused(self, count: int, error: BackpressureError) -> None:
        """Note that so much was refused."""
        with self._lock:
            self._last_s = now_s = self._now()
            self._refused += count
            self.lasts = True
            tells = self._since_s is None and now_s >= self._quiet_to_s
            if tells:
                self._since_s = now_s
        if tells:
            self._began(error)

    def eased(self, ops: int, size: int) -> None:
        """Note that something has left the queue, which now holds so many operations and bytes."""
        with self._lock:
            now_s = self._now()
            room = 2 * ops <= self._bounds.ops_max and 2 * size <= self._bounds.bytes_max
            # An empty queue is calm at once: nothing may ever come again that would end it.
            if not self.lasts or not (ops == 0 or (room and now_s - self._last_s >= CALM_S)):
                return
            self.lasts = False
            if self._since_s is None:
                return  # Too soon after the last time; what was refused is told with the next.
            refused, took_s = self._refused, now_s - self._since_s
            self._refused, self._since_s, self._quiet_to_s = 0, None, now_s + APART_S
        self._ended(refused, took_s)


def owner_pressure(namespace: str, what: str, bounds: QueueBounds, clock: Clock) -> Pressure:
    """Return the refusals of a queue in an owner, told to the log.

    Args:
        namespace: Whose.
        what: What waits there: `writes`, `queries`, `calls`.
        bounds: Of the queue.
        clock: Measures how long it lasts.
    """
    return Pressure(
        bounds,
        clock.boot_s,
        began=partial(journal.backpressure_began, namespace, what),
        ended=partial(journal.backpressure_ended, namespace, what),
    )
