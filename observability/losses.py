"""How much of the telemetry was lost on its way out of this process, over all that send it."""

import threading
from collections.abc import Callable
from typing import Final


class Losses:
    """What was lost of one kind; a number that only grows. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: list[Callable[[], int]] = []
        self._ended = 0

    def count(self, source: Callable[[], int]) -> Callable[[], None]:
        """Add what a source has lost so far, a number that only grows; return how to say that it has ended."""
        with self._lock:
            self._sources.append(source)

        def end() -> None:
            with self._lock:
                if source in self._sources:
                    self._sources.remove(source)
                    self._ended += source()

        return end

    def lost(self) -> int:
        """Return how much was lost so far (count)."""
        with self._lock:
            return self._ended + sum(source() for source in self._sources)


LOG_RECORDS: Final = Losses()
"""Records that the worker logs could not keep."""

SPANS: Final = Losses()
"""Spans that found no room in the queue, or that the collector did not take."""
