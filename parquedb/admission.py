"""What a queue takes in: bounds by count, bytes and age, and how soon whoever is refused should come back."""

import random
from typing import Final, NamedTuple

from parquedb.errors import BackpressureError

RETRY_AFTER_MIN_S: Final = 0.05
RETRY_AFTER_MAX_S: Final = 5.0
"""However long the queue: when a store returns nobody shall still be waiting to be told so."""

_UNMEASURED_S: Final = 0.1
_WEIGHT: Final = 0.3
_SPREAD: Final = 0.2


class QueueBounds(NamedTuple):
    """How much may wait.

    Attributes:
        ops_max: Operations (count).
        bytes_max: Bytes of operations.
        age_max_s: Seconds that the oldest may have waited when another one comes.
    """

    ops_max: int
    bytes_max: int
    age_max_s: float


class Admission:
    """Refuses what a queue has no room or no time for; decides from figures it is given and keeps none of the queue.

    The age of the oldest is what a new arrival would wait for at the least, whatever the reason: so it is also held
    against the time that the new one has left. What could not be answered in time is not begun.

    Args:
        what: What waits, for the message: `writes`.
        bounds: How much of it.
        rng: Spreads those who are refused together.

    Attributes:
        refused: Operations refused so far, by reason: `ops`, `bytes`, `age`.
    """

    def __init__(self, what: str, bounds: QueueBounds, rng: random.Random) -> None:
        self._what = what
        self._bounds = bounds
        self._rng = rng
        self._seconds_each = 0.0
        self.refused = {"ops": 0, "bytes": 0, "age": 0}

    def refusal(  # noqa: PLR0913 - two sums, and what would be added to each
        self, *, ops: int, size: int, queued_ops: int, queued_bytes: int, oldest_s: float, left_s: float
    ) -> BackpressureError | None:
        """Return why an arrival is refused, or None.

        Args:
            ops: Operations that want in.
            size: Their bytes.
            queued_ops: Operations inside.
            queued_bytes: Their bytes.
            oldest_s: Seconds that the first in line has waited; 0 when nobody waits.
            left_s: Seconds that the arrival can wait.
        """
        reason = self.broken_bound(queued_ops + ops, queued_bytes + size, oldest_s, left_s)
        if reason is None:
            return None
        self.refused[reason] += ops
        size_text = f" ({queued_bytes} bytes)" if queued_bytes else ""
        since = f", the oldest for {oldest_s:.1f} s" if reason == "age" else ""
        return BackpressureError(
            f"{queued_ops} {self._what}{size_text} are already waiting{since}",
            retry_after=self.retry_after_s(queued_ops, oldest_s),
        )

    def broken_bound(self, ops: int, size: int, oldest_s: float, left_s: float) -> str | None:
        """Return which bound is broken by an arrival that makes the queue so long, in operations and in bytes.

        Nearly always none is, and the busiest queues ask this first, for it costs little.
        """
        ops_max, bytes_max, age_max_s = self._bounds
        if ops > ops_max:
            return "ops"
        if size > bytes_max:
            return "bytes"
        return "age" if oldest_s > age_max_s or oldest_s > left_s else None

    def drained(self, ops: int, took_s: float) -> None:
        """Note that so many operations were done with in so many seconds of work."""
        if ops:
            each = took_s / ops
            self._seconds_each = each if not self._seconds_each else (1 - _WEIGHT) * self._seconds_each + _WEIGHT * each

    def retry_after_s(self, queued_ops: int, oldest_s: float) -> float:
        """Estimate when there will be room: the time that what waits now takes, within bounds, spread by a fifth."""
        work_s = queued_ops * self._seconds_each if self._seconds_each else _UNMEASURED_S
        # When nothing leaves, the rate of better days says nothing; how long it has lasted does.
        wait_s = min(max(work_s, oldest_s / 2, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)
        return wait_s * self._rng.uniform(1 - _SPREAD, 1 + _SPREAD)
