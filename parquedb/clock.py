"""Time as an argument: one interface, the system's clock, and one that tests turn by hand."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the engine knows of time; a simulator supplies its own."""

    def now(self) -> datetime:
        """Return wall-clock time, UTC-aware."""

    def boot_s(self) -> float:
        """Return seconds on a clock that never steps and counts while the machine sleeps."""

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return wall-clock time, UTC-aware."""
        return datetime.now(UTC)

    if hasattr(time, "CLOCK_BOOTTIME"):

        def boot_s(self) -> float:
            """Return seconds since boot, suspended time included."""
            # CLOCK_MONOTONIC stops while a laptop sleeps; a lease must not.
            return time.clock_gettime(time.CLOCK_BOOTTIME)

    else:  # pragma: no cover - macOS, whose monotonic clock counts sleep

        def boot_s(self) -> float:
            """Return seconds on the monotonic clock."""
            return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds."""
        await asyncio.sleep(delay_s)


class ManualClock:
    """A clock that moves only when told; sleeping advances it at once."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """Return the start plus everything advanced so far."""
        return datetime.fromtimestamp(self._start.timestamp() + self._elapsed_s, UTC)

    def boot_s(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed_s

    def advance(self, delta_s: float) -> None:
        """Move forward by `delta_s` seconds."""
        self._elapsed_s += delta_s

    async def sleep(self, delay_s: float) -> None:
        """Advance by `delay_s` and let other tasks run."""
        self.advance(delay_s)
        await asyncio.sleep(0)
