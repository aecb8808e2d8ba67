"""Between operations and exporters: what waits is bounded, who fails is left alone, and the end comes in time."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from parquedb.observability.losses import SPANS
from parquedb.observability.otel.lean_span import LeanSpan, SpanTemplate
from parquedb.observability.otel.propagation import PACKED_BYTES
from parquedb.observability.otel.span_queue import LINKS_MAX, QueueLimits, SpanQueue

TEMPLATE = SpanTemplate("create posts", SpanKind.CLIENT, {})
LONG_S = 3600.0


class Kept:
    """A sink that keeps what it is sent, or does what a test wants."""

    def __init__(self, *, fails: int = 0, blocks: bool = False) -> None:
        self.batches: list[list[Any]] = []
        self.tried = threading.Semaphore(0)
        self.closed = threading.Event()
        self._fails = fails
        self._blocks = blocks

    def send(self, spans: Sequence[Any]) -> bool:
        self.tried.release()
        if self._blocks:
            self.closed.wait()
            return False
        if self._fails:
            self._fails -= 1
            raise OSError("gone")
        self.batches.append(list(spans))
        return True

    def close(self) -> None:
        self.closed.set()


def span(number: int) -> LeanSpan:
    return LeanSpan(TEMPLATE, 1, number, None, (), sampled=True, start_ns=1, ended=lambda _: None)


def numbers(sink: Kept) -> list[list[int]]:
    return [[each.span_id for each in batch] for batch in sink.batches]


@pytest.fixture
def opened() -> Iterator[list[SpanQueue]]:
    made: list[SpanQueue] = []
    yield made
    for queue in made:
        queue.close(0.1)


def test_spans_leave_in_order_in_batches_and_the_rest_at_the_end(opened: list[SpanQueue]) -> None:
    sink = Kept()
    queue = SpanQueue([sink], QueueLimits(spans_max=100, batch_max=3, delay_s=LONG_S))
    opened.append(queue)
    for number in range(1, 8):
        queue.put(span(number))
    assert sink.tried.acquire(timeout=10)
    queue.close(10.0)
    assert [number for batch in numbers(sink) for number in batch] == list(range(1, 8))
    assert max(map(len, sink.batches)) == 3
    assert (queue.dropped, queue.lost) == (0, 0)


def test_little_is_sent_after_the_delay(opened: list[SpanQueue]) -> None:
    sink = Kept()
    queue = SpanQueue([sink], QueueLimits(delay_s=0.01))
    opened.append(queue)
    queue.put(span(1))
    assert sink.tried.acquire(timeout=10)


def test_what_finds_no_room_is_dropped_and_counted(opened: list[SpanQueue]) -> None:
    sink = Kept(blocks=True)
    queue = SpanQueue([sink], QueueLimits(spans_max=5, batch_max=2, delay_s=LONG_S))
    opened.append(queue)
    queue.put(span(1))
    queue.put(span(2))
    assert sink.tried.acquire(timeout=10)  # Two are being sent, and will be for ever.
    for number in range(3, 13):
        queue.put(span(number))
    assert queue.dropped == 5
    queue.close(0.2)
    assert (queue.dropped, queue.lost) == (10, 2)


def test_what_is_lost_of_all_queues_is_counted_for_the_process(opened: list[SpanQueue]) -> None:
    before, sink = SPANS.lost(), Kept(blocks=True)
    queue = SpanQueue([sink], QueueLimits(spans_max=1, batch_max=1, delay_s=LONG_S))
    opened.append(queue)
    queue.put(span(1))
    assert sink.tried.acquire(timeout=10)
    queue.put(span(2))
    queue.put(span(3))
    assert SPANS.lost() == before + 1
    queue.close(0.2)
    assert SPANS.lost() == before + 3
    queue.close(0.2)
    assert SPANS.lost() == before + 3


def test_spans_with_many_links_leave_a_few_at_a_time(opened: list[SpanQueue]) -> None:
    sink = Kept()
    queue = SpanQueue([sink], QueueLimits(batch_max=100, delay_s=LONG_S))
    opened.append(queue)
    links = [bytes(25)] * (LINKS_MAX // 2)
    for number in range(1, 6):
        queue.put(LeanSpan(TEMPLATE, 1, number, None, links, sampled=True, start_ns=1, ended=lambda _: None))
    queue.close(10.0)
    assert numbers(sink) == [[1, 2], [3, 4], [5]]


def test_links_of_spans_in_brief_count_as_well_and_records_have_none(opened: list[SpanQueue]) -> None:
    sink = Kept()
    queue = SpanQueue([sink], QueueLimits(batch_max=100, delay_s=LONG_S))
    opened.append(queue)
    linked = (b"record", bytes(PACKED_BYTES) * LINKS_MAX, ())
    for each in (b"first", linked, b"second", linked):
        queue.put(each)
    queue.close(10.0)
    assert sink.batches == [[b"first", linked], [b"second", linked]]


def test_the_end_is_bounded_when_a_sink_is_stuck(opened: list[SpanQueue]) -> None:
    sink = Kept(blocks=True)
    queue = SpanQueue([sink], QueueLimits(batch_max=1))
    opened.append(queue)
    queue.put(span(1))
    assert sink.tried.acquire(timeout=10)
    started_s = time.monotonic()
    queue.close(0.4)
    assert time.monotonic() - started_s < 5.0
    assert sink.closed.is_set()
    queue.put(span(2))
    assert queue.dropped == 1


def test_a_sink_that_fails_is_left_alone_for_a_while_and_others_get_their_spans(opened: list[SpanQueue]) -> None:
    broken, sound = Kept(fails=10), Kept()
    queue = SpanQueue([broken, sound], QueueLimits(batch_max=1, delay_s=0.01))
    opened.append(queue)
    queue.put(span(1))
    queue.put(span(2))
    assert broken.tried.acquire(timeout=10)
    assert not broken.tried.acquire(timeout=0.2), "it was tried again at once"
    assert numbers(sound)[0] == [1]
    assert queue.lost == 1


def test_a_forked_child_sends_its_own_spans_and_none_of_its_parents(opened: list[SpanQueue]) -> None:
    class Piped:
        def send(self, spans: Sequence[LeanSpan]) -> bool:
            os.write(writing, bytes(each.span_id for each in spans))
            return True

        def close(self) -> None:
            """Keep the pipe."""

    reading, writing = os.pipe()
    queue = SpanQueue([Piped()], QueueLimits(delay_s=LONG_S))
    opened.append(queue)
    queue.put(span(1))
    child = os.fork()
    if child == 0:
        queue.put(span(2))
        queue.close(5.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 10) == b"\x02"
    queue.close(5.0)
    assert os.read(reading, 10) == b"\x01"
    os.close(reading)
    os.close(writing)
