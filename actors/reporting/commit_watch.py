"""Watching commits: what the hooks are told of each, linked to the writes it carries, and how long they take."""

from typing import Final

from parquedb.actors.writes.calls import Write
from parquedb.clock import Clock
from parquedb.observability.contexts import CommitContext, CommitResult
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.propagation import PACKED_BYTES, Traceparents, is_sampled
from parquedb.storage.log.entry import LogEntry

_TRACES_MAX: Final = 128


class CommitWatch:
    """Tells the hooks about one commit; costs next to nothing while none listens to that.

    Args:
        hooks: Whom to tell.
        namespace: Whose log it is.
        actor: Name of the actor that commits.
        entry: What is committed.
        size: Bytes of it.
        writes: Those it carries.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the first three are given once and for all
        self,
        hooks: HookRegistry,
        namespace: str,
        actor: str | None,
        entry: LogEntry,
        size: int,
        writes: list[Write],
    ) -> None:
        self._operation = None
        self._entry = entry
        if hooks.hears("commit"):
            header = entry.header
            callers = Traceparents(b"".join(write.origin.callers for write in writes)[: _TRACES_MAX * PACKED_BYTES])
            context = CommitContext(
                namespace,
                *(header.epoch, header.position, header.kind, header.count, size),
                traceparents=callers,
                actor=actor,
                traceparent=_leading(writes),
            )
            self._operation = hooks.start("commit", context)

    def landed(self, attempts: int) -> None:
        """Report that the entry is durable."""
        operation, self._operation = self._operation, None
        if operation is not None:
            first, count = self._entry.header.first_seq, self._entry.header.count
            operation.end(CommitResult(operation.elapsed_s(), first, first + count - 1, attempts))

    def failed(self, error: BaseException) -> None:
        """Report that it is not, or that nobody can tell."""
        operation, self._operation = self._operation, None
        if operation is not None:
            operation.error(error)


def _leading(writes: list[Write]) -> str | None:
    """Return the span of the first call in a trace that is sampled, or else of the first call that has one."""
    calls = [write.origin.call for write in writes if write.origin.call is not None]
    return next(filter(is_sampled, calls), calls[0] if calls else None)


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
