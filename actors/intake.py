"""Taking a call in: its writes are checked and queued, its reads handed on."""

from collections.abc import Sequence
from typing import Final

from parquedb.actors.calls import Call, Write
from parquedb.actors.create_run import RUN_MIN, CreateRun, prepare_run, run_end
from parquedb.actors.evaluate import Rules, prepare
from parquedb.actors.operations import Operation, Outcome, SessionRequest
from parquedb.actors.sessions import Sessions
from parquedb.actors.write_queue import WriteQueue
from parquedb.actors.writer import Writer
from parquedb.errors import ParqueDBError

_US: Final = 1_000_000


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

    def take(self, call: Call, operations: Sequence[Operation], traceparent: str | None) -> list[tuple[int, Operation]]:
        """Queue the writes of a call in their order; refusals are settled at once.

        Returns:
            The reads, each with its place in the call.
        """
        reads: list[tuple[int, Operation]] = []
        place = 0
        while place < len(operations):
            if not operations[place].is_write:
                reads.append((place, operations[place]))
                place += 1
                continue
            end = run_end(operations, place)
            if end - place < RUN_MIN or not self._take_run(call, place, operations[place:end], traceparent):
                end = max(end, place + 1)
                for at in range(place, end):
                    self._take_one(call, at, operations[at], traceparent)
            place = end
        return reads

    def _take_one(self, call: Call, place: int, operation: Operation, traceparent: str | None) -> None:
        try:
            prepared = prepare(operation, self._rules)
        except ParqueDBError as error:
            call.settle(place, Outcome(error=error))
            return
        age_us = int(operation.age_s * _US)
        write = Write(prepared, operation.request, age_us, traceparent or operation.traceparent, [(call, place)])
        # A write that was applied stays applied: its retry needs no room in the queue and no storage.
        admitted = self._writer.recall(write) or self._queue.admit(write)
        if isinstance(admitted, Outcome):
            call.settle(place, admitted)
        else:
            call.expect(admitted, place, operation.timeout_s or self._timeout_s)

    def _take_run(self, call: Call, place: int, creates: Sequence[Operation], traceparent: str | None) -> bool:
        """Queue creates as one; False if they must be looked at one by one."""
        requests = [create.request for create in creates if isinstance(create.request, SessionRequest)]
        prepared = prepare_run(creates, self._rules)
        if prepared is None or not self._sessions.is_fresh(requests):
            return False
        waiters = [(call, place + at) for at in range(len(creates))]
        run = CreateRun(prepared, None, 0, traceparent or creates[0].traceparent, waiters, requests=requests)
        if not self._queue.admit_run(run):
            return False
        for (_, at), create in zip(waiters, creates, strict=True):
            call.expect(run, at, create.timeout_s or self._timeout_s)
        return True
