"""How many log records were lost on their way out of this process, over everything that stores them."""

import threading
from collections.abc import Callable

_lock = threading.Lock()
_sources: list[Callable[[], int]] = []
_ended = [0]


def count_losses(source: Callable[[], int]) -> Callable[[], None]:
    """Add what a source has lost so far, a number that only grows; return how to say that it has ended."""
    with _lock:
        _sources.append(source)

    def end() -> None:
        with _lock:
            if source in _sources:
                _sources.remove(source)
                _ended[0] += source()

    return end


def records_lost() -> int:
    """Return how many records were lost so far (count)."""
    with _lock:
        return _ended[0] + sum(source() for source in _sources)
