"""The calls that have arrived at an owner and have no answer yet: bounded in bytes."""

import math
import random
import sys
from typing import Final

from parquedb.actors.reporting.pressure import owner_pressure
from parquedb.admission import QueueBounds
from parquedb.clock import Clock
from parquedb.errors import BackpressureError

RETRY_S: Final = (0.1, 0.5)
"""When a caller shall come back whose call found no room, at the earliest; drawn between these, seconds."""


class CallRoom:
    """While the engine opens, nothing else bounds what waits.

    Args:
        namespace: Whose owner it is.
        bytes_max: Of calls; one alone may be larger.
        clock: Measures how long refusals last.
        rng: Spreads the repeats.

    Attributes:
        calls: How many there are.
        used_s: When the last one ended, seconds of the clock.
    """

    def __init__(self, namespace: str, bytes_max: int, clock: Clock, rng: random.Random) -> None:
        self._bytes_max = bytes_max
        self._clock = clock
        self._random = rng
        self._bytes = self.calls = 0
        self._pressure = owner_pressure(namespace, "calls", QueueBounds(sys.maxsize, bytes_max, math.inf), clock)
        self.used_s = clock.boot_s()

    def refusal(self, size: int) -> BackpressureError | None:
        """Return why a call of so many bytes is not taken in; None if it is."""
        if not self._bytes or self._bytes + size <= self._bytes_max:
            return None
        waiting = f"{self.calls} calls ({self._bytes} bytes) are already being executed"
        refusal = BackpressureError(waiting, retry_after=self._random.uniform(*RETRY_S))
        self._pressure.refused(1, refusal)
        return refusal

    def enter(self, size: int = 0) -> None:
        """Take a call in."""
        self.calls += 1
        self._bytes += size

    def leave(self, size: int = 0) -> None:
        """Let a call go."""
        self.calls -= 1
        self._bytes -= size
        if self._pressure.lasts:
            self._pressure.eased(self.calls, self._bytes)
        self.used_s = self._clock.boot_s()
