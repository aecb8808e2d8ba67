"""A breaker's states, and how their changes reach the callbacks."""

import threading
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from parquedb.observability.logs import get_logger

_log = get_logger("storage.breaker")


class CircuitState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


StateCallback = Callable[[str, CircuitState, CircuitState, str], None]
"""Receives name, state before, state after, reason; OPEN to OPEN means isolated."""


class StateChanges:
    """State changes on their way to the callbacks: in order, one at a time, and never under the breaker's lock."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._callbacks: tuple[StateCallback, ...] = ()
        self._pending: deque[tuple[CircuitState, CircuitState, str]] = deque()
        self._announcing = False

    def subscribe(self, callback: StateCallback) -> Callable[[], None]:
        """Add a callback; return how to take it away."""
        with self._lock:
            self._callbacks += (callback,)

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks = tuple(one for one in self._callbacks if one is not callback)

        return unsubscribe

    def add(self, before: CircuitState, after: CircuitState, reason: str) -> None:
        """Note a change; called under the breaker's lock, which keeps the order."""
        if self._callbacks:
            self._pending.append((before, after, reason))

    def announce(self) -> None:
        """Tell what was noted; called without the breaker's lock."""
        while self._pending:
            with self._lock:
                # Whoever is at it, perhaps a callback further up this stack, will take the new ones too.
                if self._announcing or not self._pending:
                    return
                self._announcing = True
                change = self._pending.popleft()
            try:
                for callback in self._callbacks:
                    self._call(callback, *change)
            finally:
                self._announcing = False

    def _call(self, callback: StateCallback, before: CircuitState, after: CircuitState, reason: str) -> None:
        try:
            callback(self._name, before, after, reason)
        except Exception:  # noqa: BLE001 - one subscriber must not harm the call or the others
            _log.exception("circuit %s: a state callback failed", self._name)
