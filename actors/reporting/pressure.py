"""When a queue began to refuse and when it stopped: two records instead of one for each refusal."""

from typing import Final

from parquedb.actors.reporting import journal
from parquedb.admission import QueueBounds
from parquedb.clock import Clock
from parquedb.errors import BackpressureError

CALM_S: Final = 5.0
"""Seconds without a refusal after which a queue that has room counts as calm."""


class Pressure:
    """The refusals of one queue.

    Args:
        namespace: Whose writes wait.
        bounds: Of the queue; half of them is room.
        clock: Measures how long it lasts.
    """

    __slots__ = ("_bounds", "_clock", "_last_s", "_namespace", "_refused", "_since_s", "lasts")

    def __init__(self, namespace: str, bounds: QueueBounds, clock: Clock) -> None:
        self._namespace = namespace
        self._bounds = bounds
        self._clock = clock
        self._since_s = self._last_s = 0.0
        self._refused = 0
        self.lasts = False
        """Whether writes have been refused and there is no room yet."""

    def refused(self, count: int, error: BackpressureError) -> None:
        """Note that so many writes were refused."""
        self._last_s = self._clock.boot_s()
        self._refused += count
        if not self.lasts:
            self.lasts, self._since_s, self._refused = True, self._last_s, count
            journal.backpressure_began(self._namespace, error)

    def eased(self, ops: int, size: int) -> None:
        """Note that writes have left the queue, which now holds so many operations and bytes."""
        now_s = self._clock.boot_s()
        room = 2 * ops <= self._bounds.ops_max and 2 * size <= self._bounds.bytes_max
        # An empty queue is calm at once: nothing may ever come again that would end it.
        if ops == 0 or (room and now_s - self._last_s >= CALM_S):
            self.lasts = False
            journal.backpressure_ended(self._namespace, self._refused, now_s - self._since_s)
