"""Running one hook's callbacks so that nothing they do reaches the operation they watch.

    background  the default: handed to a daemon thread of the hook's own, in order, through a bounded queue
    inline      a hook that says `inline = True`: called in place, and trusted to be quick and to come back

The operation never waits for a background hook: what finds the queue full is dropped and counted. What a callback
returns to be awaited is awaited on the hook's thread, inline or not (`parquedb.observability.hook_thread`).
"""

import inspect
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from parquedb.observability.brief import Kind, Works
from parquedb.observability.hook_thread import Awaited, HookThread
from parquedb.observability.logs import get_logger

QUEUE_MAX: Final = 10_000
"""Callbacks of one hook that may wait for its thread (count)."""

SLOW_S: Final = 0.05
"""A callback that takes longer (seconds) counts as slow; one that is awaited may take its time."""

AWAITED_S: Final = 30.0
"""Seconds after which a coroutine of a callback is cancelled, and counted as an error."""

_logger = get_logger(__name__)


class Heard(Protocol):
    """An operation, as far as its callbacks have to know it."""

    deaf: tuple[object, ...]
    """Entries whose start callback failed: they know nothing of the operation, and are spared its ending."""


@dataclass(frozen=True, slots=True)
class CallbackStats:
    """What the callbacks of one hook for one group came to.

    Attributes:
        calls: Callbacks run, failed ones included.
        errors: Those of them that raised.
        slow: Those of them that took longer than the bound.
        dropped: Callbacks not run, because too many were waiting.
    """

    calls: int = 0
    errors: int = 0
    slow: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class HookStats:
    """What one registered hook has done so far.

    Attributes:
        name: Module and class of the hook.
        groups: By group (`query`, `commit`, `flush`, ...); groups without a call are left out.
        inline: Whether it is called in place instead of on its own thread.
    """

    name: str
    groups: dict[str, CallbackStats] = field(default_factory=dict)
    inline: bool = False

    @property
    def calls(self) -> int:
        """Callbacks run."""
        return sum(group.calls for group in self.groups.values())

    @property
    def errors(self) -> dict[str, int]:
        """Callbacks that raised, by group; groups without any are left out."""
        return {name: group.errors for name, group in self.groups.items() if group.errors}

    @property
    def slow(self) -> int:
        """Callbacks that took longer than the bound."""
        return sum(group.slow for group in self.groups.values())

    @property
    def dropped(self) -> int:
        """Callbacks not run."""
        return sum(group.dropped for group in self.groups.values())


class _Counts:
    """`CallbackStats` in the making."""

    __slots__ = ("calls", "dropped", "errors", "slow")

    def __init__(self) -> None:
        self.calls = self.errors = self.slow = self.dropped = 0

    def taken(self) -> CallbackStats:
        return CallbackStats(self.calls, self.errors, self.slow, self.dropped)


class _Call(NamedTuple):
    """A callback on its way to its thread; see `Entry.call`."""

    group: str
    callback: Callable[..., Any]
    args: tuple[Any, ...]
    operation: Heard | None
    opens: bool


class Entry:
    """One registration of one hook: the object, its counters and where it runs.

    Invariants:
        C1. `call` raises nothing that a hook raised, but for a `KeyboardInterrupt` in place: that is the user's.
        C2. At most `queue_max` callbacks wait; `call` waits for none of them.
        C3. The callbacks of a background hook run one after the other, in the order of the calls.
    """

    __slots__ = ("__weakref__", "_briefs", "_counts", "_lock", "_slow_s", "_thread", "hook", "inline", "name")

    def __init__(
        self, hook: object, *, slow_s: float = SLOW_S, queue_max: int = QUEUE_MAX, awaited_s: float = AWAITED_S
    ) -> None:
        """Prepare; the thread starts with the first callback.

        Args:
            hook: The object.
            slow_s: See `SLOW_S`.
            queue_max: See `QUEUE_MAX`.
            awaited_s: See `AWAITED_S`.
        """
        kind = type(hook)
        self.hook = hook
        self.name = f"{kind.__module__}.{kind.__qualname__}"
        self.inline = bool(getattr(hook, "inline", False))
        self._slow_s = slow_s
        self._counts: dict[str, _Counts] = {}
        self._briefs: dict[Works, str] = {}
        self._lock = threading.Lock()
        self._thread = HookThread(self.name, self._carry_out, queue_max=queue_max, awaited_s=awaited_s)
        _entries.add(self)

    def call(
        self,
        group: str,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        operation: Heard | None = None,
        *,
        opens: bool = False,
    ) -> bool:
        """Run one callback, or hand it on.

        Args:
            group: What it is about, for the counters.
            callback: The hook's.
            args: Its arguments.
            operation: What it starts or ends, if it does.
            opens: Whether it starts that.

        Returns:
            Whether the hook has heard of it, or will: False when it raised right away, or there was no room.
        """
        if not self.inline:
            if self._thread.put(_Call(group, callback, args, operation, opens)):
                return True
            self._dropped(group)
            return False
        started_s = time.perf_counter()
        try:
            answer = callback(*args)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - C1; nothing is awaited here, so no cancellation is lost
            self._ran(group, time.perf_counter() - started_s, error)
            return False
        took_s = time.perf_counter() - started_s
        counts = self._counts.get(group)
        if counts is None or took_s > self._slow_s:
            self._ran(group, took_s, None)
        else:
            with self._lock:
                counts.calls += 1
        if answer is not None and inspect.isawaitable(answer):
            self._hand_on(group, answer)
        return True

    def brief(self, kind: Kind) -> Works | None:
        """Return what takes operations of this kind in brief; None where the hook wants them as they are."""
        make = getattr(self.hook, "brief", None) if self.inline else None
        try:
            made: Works | None = make(kind) if callable(make) else None
        except Exception as error:  # noqa: BLE001 - C1
            self._errored(kind.group, error)
            return None
        if made is not None:
            with self._lock:
                self._briefs[made] = kind.group
        return made

    def stats(self) -> HookStats:
        """Return the counters as they stand."""
        with self._lock:
            groups = {name: one.taken() for name, one in self._counts.items()}
            for brief, name in self._briefs.items():
                if brief.told:
                    counted = groups.get(name, CallbackStats())
                    groups[name] = replace(counted, calls=counted.calls + brief.told)
        return HookStats(self.name, groups, self.inline)

    def mark(self) -> threading.Event | None:
        """Return what is set once everything handed on so far has run; None when nothing is under way."""
        return self._thread.mark()

    def _carry_out(self, call: _Call) -> Awaited | None:
        """Run one callback on the hook's thread; return what is left to await."""
        if call.operation is not None and self in call.operation.deaf:
            return None
        started_s, failure, answer = time.perf_counter(), None, None
        try:
            answer = call.callback(*call.args)
        except BaseException as error:  # noqa: BLE001 - C1; signals are the main thread's
            failure = error
        took_s = time.perf_counter() - started_s
        if answer is not None and inspect.isawaitable(answer):
            return Awaited(answer, partial(self._settled, call, took_s))
        self._settled(call, took_s, failure)
        return None

    def _settled(self, call: _Call, took_s: float, error: BaseException | None) -> None:
        if error is not None and call.opens and call.operation is not None:
            call.operation.deaf = (*call.operation.deaf, self)
        self._ran(call.group, took_s, error)

    def _hand_on(self, group: str, answer: Any) -> None:
        """Have an inline callback's awaitable awaited where it delays nobody."""

        def settled(error: BaseException | None) -> None:
            if error is not None:
                self._errored(group, error)

        if not self._thread.put(Awaited(answer, settled)):
            if inspect.iscoroutine(answer):
                answer.close()  # Else Python warns that it was never awaited.
            self._dropped(group)

    def _ran(self, group: str, took_s: float, error: BaseException | None) -> None:
        slow = took_s > self._slow_s
        with self._lock:
            counts = self._counts.get(group)
            if counts is None:
                counts = self._counts[group] = _Counts()
            counts.calls += 1
            counts.slow += slow
            first = slow and sum(each.slow for each in self._counts.values()) == 1
        if first:
            where = "it delays operations" if self.inline else "it delays no operation"
            _logger.warning(
                "hook %s was slow in %s: %.3f s; %s; further ones are only counted", self.name, group, took_s, where
            )
        if error is not None:
            self._errored(group, error)

    def _errored(self, group: str, error: BaseException) -> None:
        with self._lock:
            counts = self._counts.setdefault(group, _Counts())
            counts.errors += 1
            first = counts.errors == 1
        if first:
            _logger.warning(
                "hook %s failed in %s; the operation is unaffected, further failures are only counted",
                self.name,
                group,
                exc_info=error,
            )

    def _dropped(self, group: str) -> None:
        with self._lock:
            counts = self._counts.setdefault(group, _Counts())
            counts.dropped += 1
            first = sum(each.dropped for each in self._counts.values()) == 1
        if first:
            _logger.warning("hook %s cannot keep up; callbacks are dropped and counted", self.name)


def _after_fork() -> None:
    # Some other thread of the parent may have held them.
    for entry in list(_entries):
        entry._lock = threading.Lock()


_entries: "weakref.WeakSet[Entry]" = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
