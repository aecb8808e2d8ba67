"""Announcing what happens to whoever registered for it, without ever changing what happens.

A hook is any object with some of these callbacks, synchronous or async:

    on_query_start(ctx)      on_query_end(ctx, result)      on_query_error(ctx, error)
    on_mutation_start(ctx)   on_mutation_end(ctx, result)   on_mutation_error(ctx, error)
    on_storage_start(ctx)    on_storage_end(ctx, result)    on_storage_error(ctx, error)
    on_commit_start(ctx)     on_commit_end(ctx, result)     on_commit_error(ctx, error)     on_commit(ctx, result)
    on_flush(ctx)   on_compaction(ctx)   on_cold_start(ctx)   on_circuit_change(ctx)   on_attempt(ctx)
    on_ai_anomaly(ctx)   on_ai_rate_limit(ctx)

`on_commit` is called like `on_commit_end`, after it. See `parquedb.observability.contexts` for the arguments and
`parquedb.observability.callbacks` for how callbacks are run: on a thread of the hook's own unless it says
`inline = True`, and so that one which is async, slow, broken or hangs changes nothing.
"""

import asyncio
import importlib
import inspect
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, cast, get_args

from parquedb.errors import ConfigurationError
from parquedb.observability.brief import Brief, Kind, Works
from parquedb.observability.callbacks import AWAITED_S, QUEUE_MAX, SLOW_S, Entry, HookStats
from parquedb.observability.hook_thread import wait_for
from parquedb.observability.logs import get_logger

Group = Literal["query", "mutation", "storage", "commit"]
"""Operations: they start, then end once, well or badly."""

Event = Literal["flush", "compaction", "cold_start", "circuit_change", "attempt", "ai_anomaly", "ai_rate_limit"]
"""Things that have happened: one callback each."""

GROUPS: tuple[Group, ...] = ("query", "mutation", "storage", "commit")
EVENTS: tuple[Event, ...] = get_args(Event)
CALLBACKS = frozenset(
    [f"on_{group}_{moment}" for group in GROUPS for moment in ("start", "end", "error")]
    + [f"on_{event}" for event in EVENTS]
    + ["on_commit"]
)
"""Every callback name a hook may have."""

_logger = get_logger(__name__)


class _Listener:
    """The callbacks of one hook for one group, looked up once."""

    __slots__ = ("brief", "call", "ends", "error", "outline", "start")

    def __init__(self, entry: Entry, group: str) -> None:
        self.brief = entry.brief
        self.call = entry.call
        self.outline = bool(getattr(entry.hook, "outline", False))
        self.start = _callback(entry.hook, f"on_{group}_start")
        self.error = _callback(entry.hook, f"on_{group}_error")
        ends = [_callback(entry.hook, f"on_{group}_end")]
        if group == "commit":
            ends.append(_callback(entry.hook, "on_commit"))
        self.ends = tuple(end for end in ends if end is not None)

    def __bool__(self) -> bool:
        return self.start is not None or self.error is not None or bool(self.ends)


class Operation:
    """An announced start that waits for its one ending.

    Attributes:
        context: What the hooks were told at the start.
        deaf: Entries of hooks whose start callback failed.
    """

    __slots__ = ("_group", "_listeners", "_started_s", "context", "deaf")

    def __init__(self, group: str, context: Any, listeners: Sequence[_Listener]) -> None:
        self.context = context
        self.deaf: tuple[object, ...] = ()
        self._group = group
        # A hook whose start failed knows nothing of the operation, so it is spared the ending.
        self._listeners: Sequence[_Listener] = [
            one for one in listeners if one.start is None or one.call(group, one.start, (context,), self, opens=True)
        ]
        self._started_s = time.perf_counter()

    def elapsed_s(self) -> float:
        """Return seconds since the start, for a result's `duration_s`."""
        return time.perf_counter() - self._started_s

    def end(self, result: Any) -> None:
        """Tell the hooks that it went well, last started first; only the first ending counts."""
        listeners, self._listeners = self._listeners, ()
        for one in reversed(listeners):
            for end in one.ends:
                one.call(self._group, end, (self.context, result), self)

    def error(self, error: BaseException) -> None:
        """Tell the hooks that it failed, last started first; only the first ending counts."""
        listeners, self._listeners = self._listeners, ()
        for one in reversed(listeners):
            if one.error is not None:
                one.call(self._group, one.error, (self.context, error), self)


class HookRegistry:
    """The hooks of one connection or one actor, and those of its parent.

    Registering is rare and locked; announcing reads one immutable table and takes no lock. Every registration stands
    by itself: an object registered twice is called twice.

    Attributes:
        active: Whether any hook is registered here or in the parent. Whether one listens to something is `hears`.
        generation: Rises whenever hooks come or go.
    """

    def __init__(
        self,
        parent: "HookRegistry | None" = None,
        *,
        slow_s: float = SLOW_S,
        queue_max: int = QUEUE_MAX,
        awaited_s: float = AWAITED_S,
    ) -> None:
        """Make an empty registry.

        Args:
            parent: A registry whose hooks, present and future, hear everything announced here as well.
            slow_s: A callback that takes longer (seconds) counts as slow.
            queue_max: Callbacks of one hook that may wait for its thread; more are dropped.
            awaited_s: Seconds after which a coroutine of a callback is cancelled.
        """
        self.active = False
        self.generation = 0
        self._parent = parent
        self._children: weakref.WeakSet[HookRegistry] = weakref.WeakSet()
        self._make_entry = partial(Entry, slow_s=slow_s, queue_max=queue_max, awaited_s=awaited_s)
        self._entries: tuple[Entry, ...] = ()
        self._operations: dict[str, tuple[_Listener, ...]] = {}
        self._detailed: frozenset[str] = frozenset()
        self._events: dict[str, tuple[tuple[Entry, Callable[..., Any]], ...]] = {}
        if parent is not None:
            with _registration:
                parent._children.add(self)
                self._rebuild()

    def register_hook(self, hook: object) -> Callable[[], None]:
        """Call `hook` from now on; return a function that stops it.

        The returned function may be called any number of times. Operations already announced to the hook still
        end for it.
        """
        _warn_of_unknown_callbacks(hook)
        entry = self._make_entry(hook)

        def unregister() -> None:
            with _registration:
                self._entries = tuple(other for other in self._entries if other is not entry)
                self._rebuild()

        with _registration:
            self._entries = (*self._entries, entry)
            self._rebuild()
        return unregister

    def hears(self, group: Group | Event) -> bool:
        """Whether anybody listens; where not, nothing need be made to be announced."""
        return group in self._operations or group in self._events

    def wants_details(self, group: Group) -> bool:
        """Whether anybody who listens looks at ids, filter and options of a context; see `outline` in docs/hooks.md."""
        return group in self._detailed

    def counts(self) -> dict[str, int]:
        """Return how many hooks listen, by group and event; 0 where none does."""
        return {
            **{group: len(self._operations.get(group, ())) for group in GROUPS},
            **{event: len(self._events.get(event, ())) for event in EVENTS},
        }

    def start(self, group: Group, context: Any) -> Operation:
        """Announce an operation; the caller ends it with `end` or `error`. Never raises."""
        listeners = self._operations.get(group)
        return Operation(group, context, listeners) if listeners else _SILENT

    def brief(self, kind: Kind) -> Brief | None:
        """Return what takes single operations of one kind in brief, as long as `generation` stays the same.

        None where several hooks listen to the group, or none, or one that wants contexts: then there is `start`.
        """
        listeners = self._operations.get(kind.group, ())
        made = listeners[0].brief(kind) if len(listeners) == 1 else None
        return cast("Brief | None", made)

    def works(self, kind: Kind) -> tuple[Works, ...]:
        """Return all who take operations of one kind in brief, as long as `generation` stays the same.

        Empty where nobody listens to the group, or somebody who wants contexts: then there is `start`.
        """
        made = [one.brief(kind) for one in self._operations.get(kind.group, ())]
        takers = tuple(one for one in made if one is not None)
        return takers if len(takers) == len(made) else ()

    def emit(self, event: Event, context: Any) -> None:
        """Announce something that has happened. Never raises."""
        for entry, callback in self._events.get(event, ()):
            entry.call(event, callback, (context,))

    def stats(self) -> list[HookStats]:
        """Return the counters of every hook that is called from here, in order of registration."""
        return [entry.stats() for entry in self._all_entries()]

    def settle(self, timeout_s: float = 1.0) -> bool:
        """Wait until what was announced so far has reached the hooks, the parent's too.

        Returns:
            False when `timeout_s` seconds were not enough; what is left goes on.
        """
        return wait_for(self._marks(), timeout_s)

    async def drain(self, timeout_s: float = 1.0) -> bool:
        """Wait as `settle` does, in a coroutine."""
        marks = self._marks()
        return not marks or await asyncio.to_thread(wait_for, marks, timeout_s)

    def _marks(self) -> list[threading.Event]:
        return [mark for entry in self._all_entries() if (mark := entry.mark()) is not None]

    def _all_entries(self) -> list[Entry]:
        inherited = self._parent._all_entries() if self._parent is not None else []
        return [*inherited, *self._entries]

    def _rebuild(self) -> None:
        """Look every callback up again; the caller holds the registration lock."""
        entries = self._all_entries()
        operations = {
            group: tuple(listener for entry in entries if (listener := _Listener(entry, group))) for group in GROUPS
        }
        events = {
            event: tuple(
                (entry, callback) for entry in entries if (callback := _callback(entry.hook, f"on_{event}")) is not None
            )
            for event in EVENTS
        }
        # Without empty ones, so that `hears` is one look each.
        self._operations = {group: listeners for group, listeners in operations.items() if listeners}
        self._events = {event: listeners for event, listeners in events.items() if listeners}
        self._detailed = frozenset(
            group for group, listeners in operations.items() if not all(one.outline for one in listeners)
        )
        self.active = bool(entries)
        self.generation += 1
        for child in self._children:
            child._rebuild()


# One lock for all registries: a parent and its children change together.
_registration = threading.Lock()
_SILENT = Operation("", None, ())

global_hook_registry = HookRegistry()
"""Hooks for every connection of this process."""


def register_hook(hook: object) -> Callable[[], None]:
    """Call `hook` for every connection of this process from now on; return a function that stops it."""
    return global_hook_registry.register_hook(hook)


def load_hooks(specs: Iterable[object]) -> list[object]:
    """Turn what `connect(hooks=[...])` was given into hooks.

    Args:
        specs: Hooks; or `"module:attribute"` strings naming a hook, a class (instantiated without arguments) or a
            function (called without arguments, returns a hook). An attribute may be dotted.

    Raises:
        ConfigurationError: A string is malformed, names nothing, or what it names cannot be made or is no hook.
    """
    return [_load_hook(spec) for spec in specs]


def _load_hook(spec: object) -> object:
    found = _resolve(spec) if isinstance(spec, str) else spec
    if inspect.isclass(found) or inspect.isroutine(found):
        try:
            found = found()
        except Exception as error:
            raise ConfigurationError(
                f"hook {spec!r} could not be made: {type(error).__name__}: {error}; expected a class or function that "
                "needs no arguments",
                setting="hooks",
            ) from error
    if not any(_callback(found, name) for name in CALLBACKS):
        raise ConfigurationError(
            f"hook {spec!r}: an object of type {type(found).__name__} without callbacks; expected some of "
            f"{', '.join(sorted(CALLBACKS))}",
            setting="hooks",
        )
    return found


def _resolve(spec: str) -> Any:
    module_name, colon, attribute = spec.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(
            f'hook {spec!r}: expected "module:attribute", such as "myapp.hooks:AuditHook"', setting="hooks"
        )
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigurationError(
            f"hook {spec!r}: module {module_name!r} could not be imported: {type(error).__name__}: {error}",
            setting="hooks",
        ) from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(
                f"hook {spec!r}: {module_name!r} has no {attribute!r}; expected the name of a hook, class or function",
                setting="hooks",
            ) from error
    return found


def _callback(hook: object, name: str) -> Callable[..., Any] | None:
    found = getattr(hook, name, None)
    return found if callable(found) else None


def _warn_of_unknown_callbacks(hook: object) -> None:
    unknown = [name for name in dir(hook) if name.startswith("on_") and name not in CALLBACKS and _callback(hook, name)]
    if unknown:
        _logger.warning("hook %r: nothing calls %s; is it misspelt?", type(hook).__qualname__, ", ".join(unknown))
