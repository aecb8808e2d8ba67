"""How many calls of the last minute failed or were slow, in memory that does not grow with them."""

from dataclasses import dataclass

BUCKETS = 20


@dataclass(frozen=True, slots=True)
class WindowTotals:
    """What the window holds.

    Attributes:
        calls: Calls that were judged.
        failures: Those that failed.
        slow: Those that took too long, failed or not.
    """

    calls: int = 0
    failures: int = 0
    slow: int = 0

    @property
    def failure_rate(self) -> float:
        """Return failures per call, 0 to 1; 0 without calls."""
        return self.failures / self.calls if self.calls else 0.0

    @property
    def slow_rate(self) -> float:
        """Return slow calls per call, 0 to 1; 0 without calls."""
        return self.slow / self.calls if self.calls else 0.0


class CallWindow:
    """A ring of time buckets, each with three counts.

    The oldest bucket falls out whole, so a call is remembered for between 19/20 of the window and the whole window.
    Not thread-safe: its owner holds a lock.

    Args:
        window_s: Seconds the ring spans, above 0.
    """

    __slots__ = ("_bucket_s", "_calls", "_failures", "_slow", "_tick")

    def __init__(self, window_s: float) -> None:
        self._bucket_s = window_s / BUCKETS
        self._tick = 0
        self._calls = [0] * BUCKETS
        self._failures = [0] * BUCKETS
        self._slow = [0] * BUCKETS

    def add(self, now_s: float, *, failed: bool, slow: bool) -> None:
        """Count one judged call that ended at `now_s`."""
        self._advance(now_s)
        bucket = self._tick % BUCKETS
        self._calls[bucket] += 1
        self._failures[bucket] += failed
        self._slow[bucket] += slow

    def totals(self, now_s: float) -> WindowTotals:
        """Return the counts of the window that ends at `now_s`."""
        self._advance(now_s)
        return WindowTotals(sum(self._calls), sum(self._failures), sum(self._slow))

    def clear(self) -> None:
        """Forget every call."""
        for counts in (self._calls, self._failures, self._slow):
            counts[:] = [0] * BUCKETS

    def _advance(self, now_s: float) -> None:
        tick = int(now_s // self._bucket_s)
        # Threads read the clock before they take the lock, so a slightly older time may come second.
        passed = min(tick - self._tick, BUCKETS)
        if passed <= 0:
            return
        for offset in range(1, passed + 1):
            bucket = (tick - passed + offset) % BUCKETS
            self._calls[bucket] = self._failures[bucket] = self._slow[bucket] = 0
        self._tick = tick
