"""Watching commits: what the hooks are told of each, linked to the writes it carries, and how long they take."""

from typing import Final

from parquedb.actors.writes.calls import Write
from parquedb.clock import Clock
from parquedb.observability.brief import UNKNOWN, Kind, Work, Works
from parquedb.observability.contexts import CommitContext, CommitResult
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.hooks import Operation as Announced
from parquedb.observability.otel.propagation import NO_SPAN, PACKED_BYTES, Traceparents, leading, text_of
from parquedb.storage.log.entry import LogEntry

_TRACES_MAX: Final = 128
_NUMBERS: Final = ("batch_size", "epoch", "position", "writes", "bytes", "first_seq", "last_seq", "attempts")


class CommitListeners:
    """Who is told of the commits of one owner.

    Args:
        hooks: Whom to tell.
        namespace: Whose log it is.
        actor: Name of the actor that commits.
    """

    def __init__(self, hooks: HookRegistry, namespace: str, actor: str | None) -> None:
        self.hooks = hooks
        self.namespace = namespace
        self.actor = actor
        self._generation = -1
        self._works: dict[str, tuple[Works, ...]] = {}

    def in_brief(self, kind: str) -> tuple[Works, ...]:
        """Return who takes commits of a kind in brief; empty where they are to be announced as ever, or to nobody."""
        if self._generation != self.hooks.generation:
            self._generation, self._works = self.hooks.generation, {}
        found = self._works.get(kind)
        if found is None:
            told = Kind("commit", kind, self.namespace, self.actor or "", _NUMBERS, "actor")
            found = self._works[kind] = self.hooks.works(told)
        return found


class CommitWatch:
    """Tells the hooks about one commit; costs next to nothing while none listens to that.

    Args:
        listeners: Whom to tell.
        entry: What is committed.
        size: Bytes of it.
        writes: Those it carries.
    """

    __slots__ = ("_entry", "_operation", "_size", "_work")

    def __init__(self, listeners: CommitListeners, entry: LogEntry, size: int, writes: list[Write]) -> None:
        self._entry = entry
        self._size = size
        self._work: Work | None = None
        self._operation: Announced | None = None
        hooks = listeners.hooks
        if not hooks.hears("commit"):
            return
        header = entry.header
        callers = b"".join(write.origin.callers for write in writes)[: _TRACES_MAX * PACKED_BYTES]
        above = _leading(writes)
        works = listeners.in_brief(str(header.kind))
        if works:
            if NO_SPAN in callers:
                callers = Traceparents(callers).packed
            if above is None or not above[-1]:
                # Under an unsampled parent the group would vanish from the traces of all it carries.
                above = leading(callers) or above
            self._work = Work(works, above, callers)
            return
        context = CommitContext(
            listeners.namespace,
            *(header.epoch, header.position, header.kind, header.count, size),
            traceparents=Traceparents(callers),
            actor=listeners.actor,
            traceparent=text_of(above),
        )
        self._operation = hooks.start("commit", context)

    def landed(self, attempts: int) -> None:
        """Report that the entry is durable."""
        first, count = self._entry.header.first_seq, self._entry.header.count
        work, self._work = self._work, None
        if work is not None:
            work.end((*self._known(), first, first + count - 1, attempts))
            return
        operation, self._operation = self._operation, None
        if operation is not None:
            operation.end(CommitResult(operation.elapsed_s(), first, first + count - 1, attempts))

    def failed(self, error: BaseException) -> None:
        """Report that it is not, or that nobody can tell."""
        work, self._work = self._work, None
        operation, self._operation = self._operation, None
        if work is not None:
            work.error(error, self._known())
        elif operation is not None:
            operation.error(error)

    def _known(self) -> tuple[int, ...]:
        """Return the first ones of `_NUMBERS`: those that are known before it has landed."""
        header = self._entry.header
        count = header.count
        return (count if count > 1 else UNKNOWN, header.epoch, header.position, count, self._size)


def _leading(writes: list[Write]) -> bytes | None:
    """Return the span of the first call in a trace that is sampled, or else of the first call that has one."""
    return leading(b"".join(write.origin.call for write in writes if write.origin.call is not None))


class CommitTiming:
    """How long the last commit took in storage, and how long the one under way is taking. Any thread may ask.

    Attributes:
        last_s: Seconds that the last one took; 0 before the first.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s: float | None = None
        self.last_s = 0.0

    @property
    def pending_s(self) -> float:
        """Seconds since the commit under way was sent; 0 when none is."""
        since_s = self._since_s
        return 0.0 if since_s is None else self._clock.boot_s() - since_s

    def begin(self) -> None:
        """Note that a commit is being sent."""
        self._since_s = self._clock.boot_s()

    def end(self) -> None:
        """Note that its fate is known, or that nobody waits for it any more."""
        self.last_s, self._since_s = self.pending_s, None
