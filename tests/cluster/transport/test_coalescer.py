import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.transport.coalescer import DeadlinePassed, LoopCoalescer, NoReplyYet, ThreadCoalescer

LONG_S = 20.0


class Destination:
    """Receives calls of threads; each waits until it is answered."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.answers: list[threading.Event] = []
        self.failures: dict[int, Exception] = {}
        self.arrived = threading.Semaphore(0)
        self._lock = threading.Lock()

    def start(self, parts: Sequence[bytes]) -> int:
        with self._lock:
            self.calls.append(list(parts))
            self.answers.append(threading.Event())
            call = len(self.calls) - 1
        self.arrived.release()
        return call

    def wait(self, call: int, timeout_s: float) -> list[Outcome]:
        if not self.answers[call].wait(timeout_s):
            raise NoReplyYet
        if call in self.failures:
            raise self.failures[call]
        return [Outcome(part) for part in self.calls[call]]


class Callers:
    """Threads that submit, and what became of each."""

    def __init__(self, coalescer: ThreadCoalescer) -> None:
        self._coalescer = coalescer
        self._threads: list[threading.Thread] = []
        self.results: dict[bytes, Any] = {}

    def submit(self, part: bytes, within_s: float = LONG_S) -> None:
        def run() -> None:
            try:
                self.results[part] = self._coalescer.submit(part, time.monotonic() + within_s).value
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.results[part] = error

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def queued(self, count: int) -> None:
        """Return once so many wait in the queue."""
        deadline_s = time.monotonic() + LONG_S
        while len(self._coalescer._queue) != count:
            assert time.monotonic() < deadline_s
            threading.Event().wait(0.001)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(LONG_S)
            assert not thread.is_alive()


def test_a_lone_operation_leaves_at_once_in_its_own_thread() -> None:
    threads = []

    class Here(Destination):
        def start(self, parts: Sequence[bytes]) -> int:
            threads.append(threading.current_thread())
            call = super().start(parts)
            self.answers[call].set()
            return call

    assert ThreadCoalescer(Here()).submit(b"a", time.monotonic() + LONG_S).value == b"a"
    assert threads == [threading.current_thread()]


def test_what_arrives_during_a_call_leaves_together_when_it_returns() -> None:
    destination = Destination()
    coalescer = ThreadCoalescer(destination)
    callers = Callers(coalescer)
    callers.submit(b"first")
    destination.arrived.acquire()
    for index in range(20):
        callers.submit(b"%d" % index)
    callers.queued(20)
    destination.answers[0].set()
    destination.arrived.acquire()
    destination.answers[1].set()
    callers.join()
    assert destination.calls[0] == [b"first"]
    assert sorted(destination.calls[1]) == sorted(b"%d" % index for index in range(20))
    assert len(destination.calls) == 2
    assert all(callers.results[part] == part for call in destination.calls for part in call)


@pytest.mark.parametrize(("ops_max", "bytes_max"), [(3, 1 << 20), (100, 30)])
def test_a_call_carries_no_more_than_its_bounds(ops_max: int, bytes_max: int) -> None:
    destination = Destination()
    callers = Callers(ThreadCoalescer(destination, ops_max=ops_max, bytes_max=bytes_max))
    callers.submit(b"first")
    destination.arrived.acquire()
    parts = [b"%010d" % index for index in range(7)]
    for part in parts:
        callers.submit(part)
    callers.queued(7)
    for call in range(4):
        destination.answers[call].set()
        if call < 3:
            destination.arrived.acquire()
    callers.join()
    assert [len(call) for call in destination.calls] == [1, 3, 3, 1]


def test_a_failed_call_fails_every_operation_in_it_and_the_next_one_leaves() -> None:
    destination = Destination()
    callers = Callers(ThreadCoalescer(destination))
    callers.submit(b"first")
    destination.arrived.acquire()
    callers.submit(b"second")
    callers.queued(1)
    destination.failures[0] = RuntimeError("lost")
    destination.answers[0].set()
    destination.arrived.acquire()
    destination.answers[1].set()
    callers.join()
    assert str(callers.results[b"first"]) == "lost"
    assert callers.results[b"second"] == b"second"


def test_when_the_leading_thread_runs_out_of_time_another_waits_on_for_the_same_call() -> None:
    destination = Destination()
    callers = Callers(ThreadCoalescer(destination))
    callers.submit(b"first")
    destination.arrived.acquire()
    callers.submit(b"hasty", within_s=0.3)
    callers.queued(1)
    callers.submit(b"patient")
    callers.queued(2)
    destination.answers[0].set()
    destination.arrived.acquire()
    assert destination.calls[1] == [b"hasty", b"patient"]
    callers._threads[1].join(LONG_S)
    late = callers.results[b"hasty"]
    assert isinstance(late, DeadlinePassed)
    assert late.sent
    destination.answers[1].set()
    callers.join()
    assert callers.results[b"patient"] == b"patient"
    assert len(destination.calls) == 2, "the call must not be sent twice"


def test_an_operation_whose_time_ends_in_the_queue_was_never_sent() -> None:
    destination = Destination()
    callers = Callers(ThreadCoalescer(destination))
    callers.submit(b"first")
    destination.arrived.acquire()
    callers.submit(b"hasty", within_s=0.05)
    callers._threads[1].join(LONG_S)
    late = callers.results[b"hasty"]
    assert isinstance(late, DeadlinePassed)
    assert not late.sent
    destination.answers[0].set()
    callers.join()
    assert destination.calls == [[b"first"]]


def test_a_call_everybody_gave_up_frees_its_place() -> None:
    destination = Destination()
    coalescer = ThreadCoalescer(destination)
    with pytest.raises(DeadlinePassed):
        coalescer.submit(b"lost", time.monotonic() + 0.05)
    callers = Callers(coalescer)
    callers.submit(b"next")
    assert destination.arrived.acquire(timeout=LONG_S)
    assert destination.arrived.acquire(timeout=LONG_S)
    destination.answers[1].set()
    callers.join()
    assert callers.results[b"next"] == b"next"


def test_many_threads_get_their_own_answers() -> None:
    class Echo(Destination):
        def wait(self, call: int, timeout_s: float) -> list[Outcome]:
            return [Outcome(part) for part in self.calls[call]]

    coalescer = ThreadCoalescer(Echo(), calls_max=2, ops_max=7)
    wrong: list[bytes] = []

    def run(thread: int) -> None:
        for index in range(200):
            part = b"%d-%d" % (thread, index)
            if coalescer.submit(part, time.monotonic() + LONG_S).value != part:
                wrong.append(part)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()
    assert wrong == []


class AsyncDestination:
    """Receives calls of a loop; each waits until it is answered."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.answers: list[asyncio.Future[Exception | None]] = []

    async def send(self, parts: Sequence[bytes]) -> list[Outcome]:
        self.calls.append(list(parts))
        self.answers.append(asyncio.get_running_loop().create_future())
        failure = await self.answers[-1]
        if failure is not None:
            raise failure
        return [Outcome(part) for part in parts]

    async def received(self, count: int) -> None:
        async with asyncio.timeout(LONG_S):
            while len(self.calls) < count:
                await asyncio.sleep(0)


async def test_operations_of_one_turn_of_the_loop_leave_in_one_call() -> None:
    destination = AsyncDestination()
    coalescer = LoopCoalescer(destination.send, calls_max=1)
    futures = [coalescer.submit(b"%d" % index, time.monotonic() + LONG_S) for index in range(50)]
    await destination.received(1)
    destination.answers[0].set_result(None)
    assert [outcome.value for outcome in await asyncio.gather(*futures)] == [b"%d" % index for index in range(50)]
    assert len(destination.calls) == 1


async def test_no_more_calls_than_allowed_are_under_way_and_the_rest_gathers() -> None:
    destination = AsyncDestination()
    coalescer = LoopCoalescer(destination.send, calls_max=2)
    futures = []
    for index in range(6):
        futures.append(coalescer.submit(b"%d" % index, time.monotonic() + LONG_S))
        await asyncio.sleep(0.001)
    assert destination.calls == [[b"0"], [b"1"]]
    destination.answers[0].set_result(None)
    await destination.received(3)
    assert destination.calls[2] == [b"2", b"3", b"4", b"5"]
    for answer in destination.answers[1:]:
        answer.set_result(None)
    await asyncio.gather(*futures)


async def test_a_failed_call_fails_all_its_futures() -> None:
    destination = AsyncDestination()
    coalescer = LoopCoalescer(destination.send)
    futures = [coalescer.submit(part, time.monotonic() + LONG_S) for part in (b"a", b"b")]
    await destination.received(1)
    destination.answers[0].set_result(RuntimeError("lost"))
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [str(result) for result in results] == ["lost", "lost"]


async def test_a_deadline_says_whether_the_operation_had_left() -> None:
    destination = AsyncDestination()
    coalescer = LoopCoalescer(destination.send, calls_max=1)
    sent = coalescer.submit(b"sent", time.monotonic() + 0.05)
    await destination.received(1)
    queued = coalescer.submit(b"queued", time.monotonic() + 0.02)
    patient = coalescer.submit(b"patient", time.monotonic() + LONG_S)
    with pytest.raises(DeadlinePassed) as late:
        await queued
    assert not late.value.sent
    with pytest.raises(DeadlinePassed) as late:
        await sent
    assert late.value.sent
    destination.answers[0].set_result(None)
    await destination.received(2)
    assert destination.calls[1] == [b"patient"]
    destination.answers[1].set_result(None)
    assert (await patient).value == b"patient"


async def test_a_cancelled_operation_that_has_not_left_never_leaves() -> None:
    destination = AsyncDestination()
    coalescer = LoopCoalescer(destination.send, calls_max=1)
    first = coalescer.submit(b"first", time.monotonic() + LONG_S)
    await destination.received(1)
    cancelled = coalescer.submit(b"cancelled", time.monotonic() + LONG_S)
    kept = coalescer.submit(b"kept", time.monotonic() + LONG_S)
    cancelled.cancel()
    destination.answers[0].set_result(None)
    await destination.received(2)
    assert destination.calls[1] == [b"kept"]
    destination.answers[1].set_result(None)
    await asyncio.gather(first, kept)
