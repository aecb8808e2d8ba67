"""One place that knows every circuit of a process: how each is, what changed lately, and who wants to hear of it.

    monitor.register("posts", storage)      its circuits, as `posts.read` and `posts.write`
    monitor.on_state_change(print)          called with a `CircuitChange` for each change from now on
    monitor.get_health_status()             a `CircuitHealthStatus`

Circuits are held weakly: one whose backend is gone leaves by itself, and `unregister` takes it out at once.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from parquedb.clock import Clock, SystemClock
from parquedb.errors import ConfigurationError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.breaker.changes import CircuitState
from parquedb.storage.breaker.circuit import CircuitBreaker
from parquedb.storage.breaker.listener import Listener, tell_all

HISTORY_MAX: Final = 100
"""Changes that a monitor remembers, of all its circuits together (count)."""

WAIT_S: Final = 0.05
"""Seconds that a change waits for its subscribers, so that a quick one has heard by the time the call returns."""


@dataclass(frozen=True, slots=True)
class CircuitChange:
    """One change of one circuit.

    Attributes:
        circuit: Its name at the monitor.
        before: State before; OPEN to OPEN means that it was isolated.
        after: State after.
        reason: What made it change, in words.
        at: When, UTC.
    """

    circuit: str
    before: CircuitState
    after: CircuitState
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CircuitHealth:
    """How one circuit is.

    Attributes:
        name: Its name at the monitor.
        state: As of now.
        isolated: Held open by hand.
        failure_count: Failed calls in its window.
        success_rate: Good answers per judged call in its window, 0 to 1; 1 without calls.
        consecutive_failures: Failures since the last good answer.
        rejected: Calls refused since it was made.
        opened: Times it opened.
        retry_after_s: Seconds until a call may be admitted; 0 where one would be now.
        recent_events: Its latest changes, oldest first.
    """

    name: str
    state: CircuitState
    isolated: bool
    failure_count: int
    success_rate: float
    consecutive_failures: int
    rejected: int
    opened: int
    retry_after_s: float
    recent_events: tuple[CircuitChange, ...] = ()


@dataclass(frozen=True, slots=True)
class CircuitHealthStatus:
    """How all circuits of a monitor are.

    Attributes:
        healthy: Whether all of them are closed.
        open_count: Circuits that refuse calls.
        half_open_count: Circuits that are being probed.
        closed_count: Circuits that let everything pass.
        circuits: Each of them by its name, in the order of the names.
        recent_events: The latest changes of all, oldest first; also of circuits that are gone.
    """

    healthy: bool
    open_count: int
    half_open_count: int
    closed_count: int
    circuits: Mapping[str, CircuitHealth]
    recent_events: tuple[CircuitChange, ...]


@dataclass(frozen=True, slots=True)
class _Watched:
    circuit: weakref.ref[CircuitBreaker]
    unsubscribe: Callable[[], None]


class CircuitBreakerMonitor:
    """The circuits of one process, by name. Thread-safe; no lock is held while a circuit or a subscriber is asked.

    Args:
        history_max: Changes remembered, from 1.
        clock: Dates the changes.
        wait_s: Seconds that a change waits for its subscribers, all of them together.
    """

    def __init__(self, *, history_max: int = HISTORY_MAX, clock: Clock | None = None, wait_s: float = WAIT_S) -> None:
        if history_max < 1:
            raise ConfigurationError(f"history_max must be at least 1, not {history_max!r}", setting="history_max")
        self._clock: Clock = clock or SystemClock()
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._watched: dict[str, dict[str, _Watched]] = {}
        self._events: deque[CircuitChange] = deque(maxlen=history_max)
        self._listeners: tuple[Listener[CircuitChange], ...] = ()

    def register(self, name: str, target: StorageBackend | CircuitBreaker) -> Callable[[], None]:
        """Watch a circuit, or all circuits of a backend; what had this name before is watched no more.

        Args:
            name: A bare circuit's name here; a backend's circuits are `name.read`, `name.write` and so on.
            target: Held weakly. Of a backend the layers of `wrap_backend`, or a `BreakerBackend`.

        Returns:
            How to stop watching them; does nothing once the name has been given to others.

        Raises:
            ConfigurationError: the backend has no circuits.
        """
        watched = {full: self._watch(full, circuit) for full, circuit in _circuits_of(name, target).items()}
        with self._lock:
            before, self._watched[name] = self._watched.get(name, {}), watched
            self._forget_gone()
        _unsubscribe(before)

        def stop() -> None:
            if self._watched.get(name) is watched:
                self.unregister(name)

        return stop

    def unregister(self, name: str) -> bool:
        """Stop watching what was registered as `name`; say whether there was anything."""
        with self._lock:
            watched = self._watched.pop(name, None)
        _unsubscribe(watched or {})
        return watched is not None

    def on_state_change(self, callback: Callable[[CircuitChange], None]) -> Callable[[], None]:
        """Call `callback(change)` for every change of every circuit, registered before or later; return how to stop it.

        It runs on a thread of its own, in the order of the changes; the call that made the change waits a moment for
        it, and not at all for one that is behind. What it raises is logged. Of more changes than it can take, the
        oldest are dropped and counted.
        """
        listener = Listener(callback)
        # Its thread holds it: a monitor that nobody has any more must take it along.
        stop = weakref.finalize(self, listener.stop)
        with self._lock:
            self._listeners += (listener,)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)
            stop()

        return unsubscribe

    def get_health_status(self) -> CircuitHealthStatus:
        """Return how every circuit is now, and what changed lately."""
        with self._lock:
            self._forget_gone()
            entries = {full: one.circuit() for group in self._watched.values() for full, one in group.items()}
            events = tuple(self._events)
        circuits = {
            full: _health_of(full, circuit, tuple(event for event in events if event.circuit == full))
            for full, circuit in sorted(entries.items())
            if circuit is not None
        }
        states = [circuit.state for circuit in circuits.values()]
        closed = states.count(CircuitState.CLOSED)
        return CircuitHealthStatus(
            healthy=closed == len(states),
            open_count=states.count(CircuitState.OPEN),
            half_open_count=states.count(CircuitState.HALF_OPEN),
            closed_count=closed,
            circuits=circuits,
            recent_events=events,
        )

    def _watch(self, full: str, circuit: CircuitBreaker) -> _Watched:
        # A circuit must not keep a monitor alive that nobody has any more, nor a monitor its circuits.
        monitor = weakref.ref(self)

        def changed(_: str, before: CircuitState, after: CircuitState, reason: str) -> None:
            alive = monitor()
            if alive is not None:
                alive._changed(full, before, after, reason)

        return _Watched(weakref.ref(circuit), circuit.on_change(changed))

    def _forget_gone(self) -> None:
        """Take out what was registered and is no more. The lock is held."""
        for name in [
            name for name, group in self._watched.items() if all(one.circuit() is None for one in group.values())
        ]:
            del self._watched[name]

    def _changed(self, full: str, before: CircuitState, after: CircuitState, reason: str) -> None:
        change = CircuitChange(full, before, after, reason, self._clock.now())
        with self._lock:
            self._events.append(change)
            listeners = self._listeners
        tell_all(listeners, change, wait_s=self._wait_s)


def _circuits_of(name: str, target: StorageBackend | CircuitBreaker) -> dict[str, CircuitBreaker]:
    if isinstance(target, CircuitBreaker):
        return {name: target}
    circuits: Mapping[str, CircuitBreaker] | None = getattr(target, "circuits", None)
    if not circuits:
        message = f"expected a circuit breaker, or a backend with circuits, as {name!r}; got {type(target).__name__}"
        raise ConfigurationError(message, setting="backend")
    return {f"{name}.{guards}": circuit for guards, circuit in circuits.items()}


def _health_of(full: str, circuit: CircuitBreaker, events: tuple[CircuitChange, ...]) -> CircuitHealth:
    metrics = circuit.metrics()
    return CircuitHealth(
        name=full,
        state=metrics.state,
        isolated=metrics.isolated,
        failure_count=metrics.window.failures,
        success_rate=1.0 - metrics.window.failure_rate,
        consecutive_failures=metrics.consecutive_failures,
        rejected=metrics.rejected,
        opened=metrics.opened,
        retry_after_s=metrics.retry_after_s,
        recent_events=events,
    )


def _unsubscribe(group: Mapping[str, _Watched]) -> None:
    for one in group.values():
        one.unsubscribe()


global_circuit_breaker_monitor = CircuitBreakerMonitor()
"""The circuits of this process: in an owner those of its namespace, in a client those of its direct storage."""
