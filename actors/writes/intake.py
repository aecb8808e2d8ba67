"""Taking a call in: its writes are checked and queued, its reads handed on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from parquedb.actors.requests.operations import CREATES, PREPARED_APART, UPDATES, Operation, Outcome
from parquedb.actors.state.sessions import Sessions
from parquedb.actors.writes.calls import Call, Origin, Write
from parquedb.actors.writes.create_run import create_run
from parquedb.actors.writes.evaluate import Rules, prepare
from parquedb.actors.writes.runs import Run
from parquedb.actors.writes.update_run import update_run
from parquedb.actors.writes.write_queue import WriteQueue
from parquedb.actors.writes.writer import Writer
from parquedb.errors import BackpressureError, ParqueDBError

_US: Final = 1_000_000
_RUNS: Final[Mapping[str, Callable[[Operation, Rules, tuple[Call, int], Origin], Run]]] = {
    CREATES: create_run,
    UPDATES: update_run,
}


class Intake:
    """The door of one namespace.

    Args:
        rules: What documents must keep to.
        writer: Remembers what was answered before.
        queue: Where writes wait.
        sessions: Tell whether a run is new.
        timeout_s: For writes that bring no deadline of their own.
    """

    def __init__(self, rules: Rules, writer: Writer, queue: WriteQueue, sessions: Sessions, timeout_s: float) -> None:
        self._rules = rules
        self._writer = writer
        self._queue = queue
        self._sessions = sessions
        self._timeout_s = timeout_s

    def take(self, call: Call, operations: Sequence[Operation], span: bytes | None) -> list[tuple[int, Operation]]:
        """Queue the writes of a call in their order; refusals are settled at once.

        Returns:
            The reads and the writes by filter, each with its place in the call.
        """
        reads: list[tuple[int, Operation]] = []
        for place, operation in enumerate(operations):
            if operation.kind in _RUNS:
                self._take_run(call, place, operation, span)
            elif operation.is_write and operation.kind not in PREPARED_APART:
                self._take_one(call, place, operation, span)
            else:
                reads.append((place, operation))
        return reads

    def _take_one(self, call: Call, place: int, operation: Operation, span: bytes | None) -> None:
        try:
            prepared = prepare(operation, self._rules)
        except ParqueDBError as error:
            call.settle(place, Outcome(error=error))
            return
        age_us = int(operation.age_s * _US)
        write = Write(prepared, operation.request, age_us, _origin(operation, span), [(call, place)])
        # A write that was applied stays applied: its retry needs no room in the queue and no storage.
        left_s = operation.timeout_s or self._timeout_s
        admitted = self._writer.recall(write) or self._queue.admit(write, left_s)
        if isinstance(admitted, Outcome):
            call.settle(place, admitted)
        else:
            call.expect(admitted, place, left_s)

    def _take_run(self, call: Call, place: int, operation: Operation, span: bytes | None) -> None:
        """Queue writes as one, or refuse them all; their callers then send each for itself."""
        try:
            run = _RUNS[operation.kind](operation, self._rules, (call, place), _origin(operation, span))
        except ParqueDBError as error:
            call.settle(place, Outcome(error=error))
            return
        new = self._sessions.are_new(run.first, run.length)
        left_s = operation.timeout_s or self._timeout_s
        refusal = self._queue.admit_run(run, left_s) if new else BackpressureError("some of these were sent before")
        if refusal is not None:
            call.settle(place, Outcome(error=refusal))
        else:
            call.expect(run, place, left_s)


def _origin(operation: Operation, span: bytes | None) -> Origin:
    return Origin(span, operation.spans or b"")
