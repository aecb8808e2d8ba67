"""The slowest operations and the latest errors of a process: a few of each, with what to look for them by in logs.

    slow     kept if it is among the slowest of its window; two windows are told, so it stays for one to two of them
    errors   one entry for each operation and code: a storm of conflicts is one line, and drives nothing else out

Whoever measures compares with two numbers (`Highlights.slow_from_s`, `Highlights.renewed_s`) before he says anything.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from parquedb.errors import ParqueDBError
from parquedb.observability.logs.redaction import redactor

SLOW_MAX: Final = 20
"""Operations of a window that are kept."""

ERRORS_MAX: Final = 50
"""Kinds of error that are kept; beyond it the one that was seen longest ago goes."""

WINDOW_S: Final = 600.0
"""Seconds for which an operation competes with others for being the slowest."""

ERRORS_KEPT_S: Final = 3600.0
"""Seconds after which an error that did not come again is no news."""

MESSAGE_CHARS_MAX: Final = 300
"""Of a message that is told."""

_KEPT_CHARS_MAX: Final = 2000
"""Of one that is kept: a secret that was cut in two is no longer known for one, so secrets go before the rest does."""


@dataclass(frozen=True, slots=True)
class SlowOperation:
    """A call that took long.

    Attributes:
        namespace: Whose.
        operation: Such as `find`; `execute` where the call carried several kinds.
        count: Operations that the call carried.
        duration_s: Seconds it took.
        time_s: When it ended, Unix time.
        request_id: Of the (first) write in it, if it has one.
        trace_id: Of the trace it belongs to, if there is one.
    """

    namespace: str
    operation: str
    count: int
    duration_s: float
    time_s: float
    request_id: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecentError:
    """A kind of error that operations of one kind were answered with.

    Attributes:
        namespace: Whose; empty where it is about none.
        operation: What failed.
        code: Of the error.
        message: Of the latest one, without secrets, cut.
        count: How often, without a pause of `ERRORS_KEPT_S`.
        time_s: When it came last, Unix time.
        request_id: Of the latest one, if it has one.
        trace_id: The same.
    """

    namespace: str
    operation: str
    code: str
    message: str
    count: int
    time_s: float
    request_id: str | None = None
    trace_id: str | None = None


class Highlights:
    """What stands out in one process. Thread-safe.

    Attributes:
        slow_from_s: Seconds that an operation has to take longer than, to be noted.
        renewed_s: When, on the clock given, a new window begins: the next operation is to be noted whatever it took.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        """Begin with nothing.

        Args:
            now: Monotonic seconds.
            wall: Unix time.
        """
        self._now = now
        self._wall = wall
        self._lock = threading.Lock()
        self._window: list[SlowOperation] = []
        self._before: list[SlowOperation] = []
        self._errors: OrderedDict[tuple[str, str, str], RecentError] = OrderedDict()
        self.slow_from_s = 0.0
        self.renewed_s = now() + WINDOW_S

    def slow(self, one: SlowOperation) -> None:
        """Note an operation, if it is among the slowest; its time is set here."""
        with self._lock:
            if self._now() >= self.renewed_s:
                self._before, self._window = self._window, []
                self.slow_from_s, self.renewed_s = 0.0, self._now() + WINDOW_S
            window = self._window
            window.append(replace(one, time_s=self._wall()))
            window.sort(key=_duration, reverse=True)
            if len(window) >= SLOW_MAX:
                del window[SLOW_MAX:]
                self.slow_from_s = window[-1].duration_s

    def failed(  # noqa: PLR0913 - what is known of an error
        self,
        namespace: str,
        operation: str,
        error: ParqueDBError,
        *,
        count: int = 1,
        request_id: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Note that operations failed in the same way.

        Args:
            namespace: Whose.
            operation: What failed.
            error: How.
            count: How many of them.
            request_id: Of one of them.
            trace_id: The same.
        """
        code = error.code.value
        key, message, now_s = (namespace, operation, code), error.message[:_KEPT_CHARS_MAX], self._wall()
        with self._lock:
            before = self._errors.pop(key, None)
            if before is not None and before.time_s >= now_s - ERRORS_KEPT_S:
                count += before.count
            self._errors[key] = RecentError(namespace, operation, code, message, count, now_s, request_id, trace_id)
            if len(self._errors) > ERRORS_MAX:
                self._errors.popitem(last=False)

    def slowest(self) -> tuple[SlowOperation, ...]:
        """Return the slowest operations of late, slowest first."""
        since_s = self._wall() - 2 * WINDOW_S
        with self._lock:
            found = [one for one in (*self._window, *self._before) if one.time_s >= since_s]
        return tuple(sorted(found, key=_duration, reverse=True)[:SLOW_MAX])

    def errors(self) -> tuple[RecentError, ...]:
        """Return the errors of late, latest first."""
        since_s = self._wall() - ERRORS_KEPT_S
        with self._lock:
            found = [one for one in self._errors.values() if one.time_s >= since_s]
        # A message is looked through for secrets when somebody reads it, for few ever are read.
        return tuple(replace(one, message=redactor.text(one.message)[:MESSAGE_CHARS_MAX]) for one in reversed(found))


def _duration(one: SlowOperation) -> float:
    return one.duration_s
