"""The queue in front of the writer: what may come in, what joins a retry's first attempt, what is taken back."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

from parquedb.actors.reporting.pressure import owner_pressure
from parquedb.actors.requests.operations import Outcome, SessionRequest
from parquedb.actors.state.sessions import request_id
from parquedb.actors.writes.calls import Awaited, Member, PendingKey, Stage, Write, key_of
from parquedb.actors.writes.runs import Run
from parquedb.actors.writes.update_run import UpdateRun
from parquedb.admission import Admission, QueueBounds
from parquedb.clock import Clock
from parquedb.errors import BackpressureError, CircuitOpenError, OutcomeUnknownError, ParqueDBError
from parquedb.settings import EngineSettings
from parquedb.storage.breaker.circuit import CircuitBreaker

_SWEEP_AFTER: Final = 64


class WriteQueue:
    """Writes that were admitted and not yet answered, bounded by count, bytes and age.

    Args:
        settings: The bounds.
        circuit: The breaker that guards writes, if there is one.
        clock: Age of the writes.
        rng: Spreads those who are refused.
        name: Of the namespace, for the log.

    Invariant:
        Q1. `ops` and `bytes` are the sums over all admitted writes that are not `Stage.DONE`.
    """

    def __init__(
        self,
        settings: EngineSettings,
        circuit: CircuitBreaker | None,
        *,
        clock: Clock,
        rng: random.Random,
        name: str = "",
    ) -> None:
        bounds = QueueBounds(settings.queue_ops_max, settings.queue_bytes_max, settings.queue_age_max_s)
        self.admission = Admission("writes", bounds, rng)
        self._pressure = owner_pressure(name, "writes", bounds, clock)
        self._circuit = circuit
        self._clock = clock
        self._waiting: deque[Write] = deque()
        self._pending: dict[PendingKey, Write] = {}
        self._runs: list[Run] = []
        self._closed: ParqueDBError | None = None
        self._taken_back = 0
        self._answered_s = 0.0
        self.arrived = asyncio.Event()
        self.ops = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def oldest_s(self) -> float:
        """Seconds that the first write in line has waited; 0 when there is none. Any thread may ask."""
        try:
            return max(0.0, self._clock.boot_s() - self._waiting[0].queued_s)
        except IndexError:
            return 0.0

    def pending(self, write: Write) -> Write | None:
        """Return the attempt under way that a retry repeats."""
        key = key_of(write.request)
        if key is None:
            return None
        found = self._pending.get(key)
        if found is None and self._runs:
            found = next((run for run in self._runs if run.index(key) >= 0), None)
        return found

    def admit(self, write: Write, left_s: float) -> Awaited | Outcome:
        """Queue a write; return what its callers wait for, or an outcome when it is refused.

        A retry whose first attempt is still under way joins it, and waits for that one.

        Args:
            write: Ready to be decided.
            left_s: Seconds that its caller waits at most.
        """
        if self._closed is not None:
            return Outcome(error=self._closed)
        joined = self.pending(write)
        if joined is not None:
            return joined.join(write)
        refusal = self._overload(write, left_s) or self.circuit_refusal()
        if refusal is not None:
            return Outcome(error=refusal)
        self._enter(write)
        return write

    def admit_run(self, run: Run, left_s: float) -> ParqueDBError | None:
        """Queue writes as one; returns why they are refused, all of them."""
        if self._closed is not None:
            return self._closed
        if any(map(run.overlaps, self._runs)) or not self._pending.keys().isdisjoint(run.keys):
            return BackpressureError("some of these are under way already")
        refusal = self._overload(run, left_s) or self.circuit_refusal()
        if refusal is None:
            self._runs.append(run)
            self._enter(run)
        return refusal

    def _enter(self, write: Write) -> None:
        write.queued_s = self._clock.boot_s()
        self._count(write)
        self._waiting.append(write)
        self.arrived.set()

    def _count(self, write: Write) -> None:
        self.ops += write.count
        self.bytes += write.prepared.size
        if not isinstance(write, Run):
            for key in write.keys:
                self._pending[key] = write

    def part(self, run: UpdateRun, left: Sequence[int]) -> None:
        """Let updates at some places of a run go on by themselves, in front of what came later."""
        self.ops -= run.count
        self.bytes -= run.prepared.size
        singles = run.part(left)
        for write in (run, *singles):
            write.queued_s = run.queued_s
            self._count(write)
        self.offer(singles)

    def offer(self, writes: Sequence[Write]) -> None:
        """Put admitted writes back, in front of those that came later."""
        self._waiting.extendleft(write for write in reversed(writes) if write.stage is Stage.QUEUED)
        if self._closed is not None:
            self.refuse_waiting(self._closed)
        self.arrived.set()

    def take(self) -> Write | None:
        """Return the oldest waiting write; None when there is none."""
        while self._waiting:
            write = self._waiting.popleft()
            if write.stage is Stage.QUEUED:
                return write
        return None

    def answer(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """Answer writes that were decided together, and note how long that kept the others waiting."""
        for write, outcome in zip(writes, outcomes, strict=True):
            self.finish(write, outcome)
        now_s = self._clock.boot_s()
        busy_since_s = max(self._answered_s, writes[0].queued_s)
        self.admission.drained(sum(write.count for write in writes), now_s - busy_since_s)
        self._answered_s = now_s
        if self._pressure.lasts:
            self._pressure.eased(self.ops, self.bytes)

    def finish(self, write: Write, outcome: Outcome) -> None:
        """Answer an admitted write, wherever it is; a second answer is ignored."""
        if write.stage is Stage.DONE:
            return
        write.finish(outcome)
        self.ops -= write.count
        self.bytes -= write.prepared.size
        if isinstance(write, Run):
            self._runs.remove(write)
            return
        for key in write.keys:
            if self._pending.get(key) is write:
                del self._pending[key]

    def overdue(self, awaited: Awaited, late: Outcome) -> Outcome:
        """Say what a caller is answered who waits no longer.

        Args:
            awaited: Taken back if it was not decided yet and nobody else waits for it.
            late: The answer for a write that was never sent.
        """
        write = awaited.write if isinstance(awaited, Member) else awaited
        if isinstance(write, UpdateRun) and write.apart and write is awaited:
            return self._overdue_apart(write, late)
        if write.stage is not Stage.QUEUED:
            return Outcome(error=unknown(write, "the commit is still under way"))
        if write.awaited:
            return Outcome(error=unknown(write, "a retry of it is still waiting"))
        self.finish(write, late)
        self._taken_back += 1
        # The head tells the age of the queue, so it must be one that still waits.
        while self._waiting and self._waiting[0].stage is not Stage.QUEUED:
            self._waiting.popleft()
        if self._taken_back > _SWEEP_AFTER and 2 * self._taken_back > len(self._waiting):
            # While storage is silent nothing else empties the queue, and what was taken back must not pile up.
            self._waiting = deque(kept for kept in self._waiting if kept.stage is Stage.QUEUED)
            self._taken_back = 0
        return late

    def _overdue_apart(self, run: UpdateRun, late: Outcome) -> Outcome:
        """`overdue` for a run of which some have left: each of those is answered for itself."""
        outcomes: list[Outcome] = []
        for at, each in enumerate(run.outcomes(Outcome(error=unknown(run, "the commit is still under way")))):
            if isinstance(each, Outcome):
                outcomes.append(each)
            elif run.wanted(at):
                outcomes.append(Outcome(error=unknown(each, "a retry of it is still waiting")))
            else:
                each.leave(run, at)
                outcomes.append(self.overdue(each, late))
        return Outcome(outcomes)

    def refuse_waiting(self, error: ParqueDBError) -> None:
        """Refuse everything that has not been decided."""
        waiting, self._waiting = self._waiting, deque()
        for write in waiting:
            self.finish(write, Outcome(error=error))

    def close(self, error: ParqueDBError) -> None:
        """Refuse everything that has not been decided, and everything from now on."""
        if self._closed is None:
            self._closed = error
            self.refuse_waiting(error)
            self.arrived.set()

    def circuit_refusal(self) -> CircuitOpenError | None:
        """Refuse at once while storage is known to be down; nothing was sent, so the refusal is certain."""
        if self._circuit is None:
            return None
        retry_after = self._circuit.would_refuse()
        return None if retry_after is None else CircuitOpenError(circuit=self._circuit.name, retry_after=retry_after)

    def _overload(self, write: Write, left_s: float) -> BackpressureError | None:
        refusal = self.admission.refusal(
            ops=write.count,
            size=write.prepared.size,
            queued_ops=self.ops,
            queued_bytes=self.bytes,
            oldest_s=self.oldest_s,
            left_s=left_s,
        )
        if refusal is not None:
            self._pressure.refused(write.count, refusal)
        return refusal


def unknown(write: Write, why: str) -> OutcomeUnknownError:
    """Return the error for a write whose fate is open."""
    request = write.request
    text = request_id(request) if isinstance(request, SessionRequest) else request
    return OutcomeUnknownError(f"{why}; the write may or may not be applied", request_id=text)
