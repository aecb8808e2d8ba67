"""Telling subscribers what happened, without ever having to wait long for one of them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from parquedb.observability.logs import get_logger

WAITING_MAX: Final = 100
"""News that wait for a slow subscriber (count); beyond it the oldest are dropped."""

_log = get_logger("storage.breaker")

N = TypeVar("N")


class Listener(Generic[N]):
    """A subscriber with a queue and a thread of its own, which starts with the first news.

    Args:
        callback: Gets each piece of news, in order. What it raises is logged.

    Attributes:
        dropped: News that it never got because it was too slow.
    """

    def __init__(self, callback: Callable[[N], None]) -> None:
        self.dropped = 0
        self._callback = callback
        self._condition = threading.Condition()
        self._waiting: deque[tuple[N, threading.Event]] = deque()
        self._busy = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    def tell(self, news: N) -> threading.Event | None:
        """Queue the news; return what is set once they were heard, or None: it is behind, do not wait for it."""
        heard = threading.Event()
        with self._condition:
            if self._stopped:
                return None
            behind = self._busy or bool(self._waiting)
            self._waiting.append((news, heard))
            if len(self._waiting) > WAITING_MAX:
                self._waiting.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    _log.warning("a subscriber to circuit changes cannot keep up; news are dropped and counted")
            # A fork takes the object along and leaves the thread behind.
            if self._thread is None or not self._thread.is_alive():
                self._busy = False
                self._thread = threading.Thread(target=self._run, name="parquedb-circuit-listener", daemon=True)
                self._thread.start()
            self._condition.notify()
        return None if behind else heard

    def stop(self) -> None:
        """Tell it nothing more, and end its thread."""
        with self._condition:
            self._stopped = True
            self._waiting.clear()
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stopped:
                    self._condition.wait()
                if self._stopped:
                    return
                news, heard = self._waiting.popleft()
                self._busy = True
            try:
                self._callback(news)
            except Exception:  # noqa: BLE001 - one subscriber must not harm the circuit or the others
                _log.exception("a subscriber to circuit changes failed")
            with self._condition:
                self._busy = False
            heard.set()


def tell_all(listeners: Iterable[Listener[N]], news: N, *, wait_s: float) -> None:
    """Tell each of them, and wait for those who are not behind, `wait_s` seconds for all together."""
    waited = [heard for heard in [listener.tell(news) for listener in listeners] if heard is not None]
    deadline_s = time.monotonic() + wait_s
    for heard in waited:
        heard.wait(max(0.0, deadline_s - time.monotonic()))
