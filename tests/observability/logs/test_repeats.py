"""Of a message that comes again and again only the first few are written, and then how many there were."""

import logging
import os
import signal
import threading

import pytest

from parquedb.observability.logs.repeats import RepeatFilter
from tests.observability.logs.kept import Kept, fresh_logger


class Bench:
    """A logger whose handler filters repeats by a clock that the test turns."""

    def __init__(self, **options: int) -> None:
        self.now_s = 100.0
        self.logger, self.kept = fresh_logger()
        self.repeats = RepeatFilter(self.kept.handle, passed_max=2, window_s=10.0, now_s=lambda: self.now_s, **options)
        self.kept.addFilter(self.repeats)

    def say(self, template: str, times: int) -> None:
        for number in range(times):
            self.logger.warning(template, number)


def test_the_first_few_pass_and_the_rest_is_one_line_when_the_window_ends():
    bench = Bench()
    bench.say("refused %d", 525)
    bench.say("another %d", 1)
    assert bench.kept.messages == ["refused 0", "refused 1", "another 0"]
    bench.now_s += 10.0
    bench.say("refused %d", 1)
    assert bench.kept.messages[3:] == ["repeated 523 times: refused 524", "refused 0"]
    told = bench.kept.records[3]
    assert (told.levelno, told.event, told.repeats) == (logging.WARNING, "log.repeated", 523)


def test_what_was_not_held_back_is_not_counted():
    bench = Bench()
    bench.say("refused %d", 2)
    bench.repeats.flush()
    assert bench.kept.messages == ["refused 0", "refused 1"]


def test_a_flush_says_what_was_held_back_so_far():
    bench = Bench()
    bench.say("refused %d", 5)
    bench.repeats.flush()
    bench.repeats.flush()
    assert bench.kept.messages[2:] == ["repeated 3 times: refused 4"]


def test_other_levels_and_other_loggers_are_other_messages():
    bench, other = Bench(), fresh_logger()[0]
    other.addHandler(bench.kept)
    bench.say("refused %d", 9)
    bench.logger.error("refused %d", 1)
    other.warning("refused %d", 2)
    assert bench.kept.messages == ["refused 0", "refused 1", "refused 1", "refused 2"]


def test_the_table_is_bounded_and_what_leaves_it_is_told():
    bench = Bench(messages_max=3)
    bench.say("first %d", 4)
    for number in range(5):
        bench.logger.warning(f"message {number}")
    assert "repeated 2 times: first 3" in bench.kept.messages
    assert len(bench.repeats._windows) <= 3


def test_a_message_that_redaction_has_changed_is_still_the_same_message():
    bench = Bench()
    for number in range(9):
        bench.logger.warning("password=%s", f"hunter{number}")
    assert bench.kept.messages == ["password=***", "password=***"]


def test_the_count_comes_even_if_nothing_else_is_ever_logged():
    told = threading.Event()

    class Listening(Kept):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            if "repeated" in record.getMessage():
                told.set()

    kept, logger = Listening(), fresh_logger()[0]
    kept.addFilter(RepeatFilter(kept.handle, passed_max=1, window_s=0.5))
    logger.addHandler(kept)
    for _ in range(3):
        logger.warning("refused")
    assert told.wait(10)
    assert kept.messages == ["refused", "repeated 2 times: refused"]


def test_any_number_of_threads_lose_no_count():
    bench = Bench()
    threads = [threading.Thread(target=bench.say, args=("refused %d", 500)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.repeats.flush()
    passed = sum(message.startswith("refused") for message in bench.kept.messages)
    held = sum(getattr(record, "repeats", 0) for record in bench.kept.records)
    assert (passed, held) == (2, 1998)


@pytest.mark.parametrize("message", [{"a": 1}, ["a"], {1}])
def test_what_an_application_logs_as_it_is_is_counted_too(message):
    bench = Bench()
    for _ in range(5):
        bench.logger.warning(message)
    bench.repeats.flush()
    assert bench.kept.messages == [str(message), str(message), f"repeated 3 times: {message}"]


def test_arguments_that_do_not_fit_fail_nobody_who_logs_afterwards():
    bench = Bench()
    record = logging.makeLogRecord({"msg": "got %d", "args": ("many",), "levelno": logging.WARNING, "name": "app"})
    assert [bench.repeats.filter(record) for _ in range(4)] == [True, True, False, False]
    bench.repeats.flush()
    assert bench.kept.messages == ["repeated 2 times: got %d"]


def test_whoever_logs_inside_of_the_filter_waits_for_nobody():
    bench = Bench()

    def clock() -> float:
        # Stands for a signal that arrives while a timer is being made, or a destructor.
        bench.repeats._now_s = lambda: 100.0
        bench.logger.warning("from inside")
        return 100.0

    with bench.repeats._lock:
        bench.repeats._now_s = clock
        bench.logger.warning("outside")
    assert bench.kept.messages == ["from inside", "outside"]


def test_a_forked_child_logs_whatever_its_parents_threads_were_at():
    bench = Bench()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with bench.repeats._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(5)
        bench.logger.warning("from the child")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    thread.join()
    assert status == 0
