"""Keeping a message that comes again and again from drowning all others."""

import copy
import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from parquedb.errors.plain import text_of
from parquedb.observability.logs.fields import EVENT, PREPARED, template_of

REPEATED: Final = "log.repeated"
"""`event` of the line that stands for repeats; `repeats` says how many."""

_Key = tuple[str, int, int]


@dataclass(slots=True)
class _Window:
    """One message's repeats since `began_s`.

    Attributes:
        began_s: When the window began (monotonic seconds).
        passed: Records let through.
        held: Records held back.
        last: The last one of those.
    """

    began_s: float
    passed: int = 0
    held: int = 0
    last: logging.LogRecord | None = None


class RepeatFilter(logging.Filter):
    """Lets the first few records of one message pass, counts the others, and says once how many there were.

    Messages are the same that have logger, level and template in common, whatever their arguments. The line that
    counts comes when the window ends, or at `flush`; it has the text of the last one.

    Args:
        say: Where that line goes; usually the `handle` of the handler that this filters for.
        passed_max: Records of one message that pass within a window.
        window_s: Seconds that a window lasts.
        messages_max: Messages remembered; beyond it the one that began earliest is forgotten.
        now_s: The clock, monotonic seconds.
    """

    def __init__(
        self,
        say: Callable[[logging.LogRecord], object],
        *,
        passed_max: int = 10,
        window_s: float = 10.0,
        messages_max: int = 1000,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._say = say
        self._passed_max = passed_max
        self._window_s = window_s
        self._messages_max = messages_max
        self._now_s = now_s
        self._begin()
        _filters.add(self)

    def _begin(self) -> None:
        """Start without anything: a forked child has neither the thread of the timer, nor whoever held the lock."""
        # Reentrant: a signal's handler, or a destructor that the garbage collector runs, may log inside of it.
        self._lock = threading.RLock()
        # In the order in which they began, for each window lasts equally long.
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record passes."""
        if vars(record).get(EVENT) == REPEATED:
            return True
        now_s = self._now_s()
        with self._lock:
            ended = self._ended(now_s)
            passes = self._pass(record, now_s)
        self._tell(ended)
        return passes

    def flush(self) -> None:
        """End all windows now and say what they have held back."""
        with self._lock:
            ended = list(self._windows.values())
            self._windows.clear()
        self._tell(ended)

    def _pass(self, record: logging.LogRecord, now_s: float) -> bool:
        key = (record.name, record.levelno, vars(record).get(PREPARED) or template_of(record))
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now_s)
        if window.passed < self._passed_max:
            window.passed += 1
            return True
        window.held += 1
        window.last = record
        if self._timer is None:
            # Nothing else may ever be logged; a timer at work is enough for all of them.
            self._timer = threading.Timer(self._window_s, self._woken)
            self._timer.daemon = True
            self._timer.start()
        return False

    def _ended(self, now_s: float) -> list[_Window]:
        ended: list[_Window] = []
        while self._windows:
            key, oldest = next(iter(self._windows.items()))
            if now_s - oldest.began_s < self._window_s and len(self._windows) < self._messages_max:
                break
            if self._windows.pop(key, None) is not None:
                ended.append(oldest)
        return ended

    def _woken(self) -> None:
        with self._lock:
            self._timer = None
            ended = self._ended(self._now_s())
            left = any(window.held for window in self._windows.values())
            if left:
                self._timer = threading.Timer(self._window_s, self._woken)
                self._timer.daemon = True
                self._timer.start()
        self._tell(ended)

    def _tell(self, ended: list[_Window]) -> None:
        """Say what was held back; without the lock, for a handler may log."""
        for window in ended:
            if window.last is None:
                continue
            said = copy.copy(window.last)
            said.msg, said.args = "repeated %d times: %s", (window.held, _message(window.last))
            vars(said).update({EVENT: REPEATED, "repeats": window.held})
            self._say(said)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit the template are no reason to fail who logs next
        return text_of(record.msg)


def _after_fork() -> None:
    for repeats in list(_filters):
        repeats._begin()


_filters: "weakref.WeakSet[RepeatFilter]" = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
