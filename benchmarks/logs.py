"""What a log record costs: disabled, enabled, and written in each form.

PYTHONPATH=. python benchmarks/logs.py
"""

import io
import logging
import statistics
import time
from collections.abc import Callable

from parquedb.errors import StorageReadError
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.formats import ConsoleFormatter, JsonFormatter
from parquedb.observability.logs.redaction import redactor
from parquedb.observability.logs.repeats import RepeatFilter

ROUNDS = 5


class Swallow(logging.Handler):
    """Takes records and does nothing with them."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


def seconds_each(work: Callable[[], object], times: int) -> float:
    """Return the median over rounds of the CPU seconds that one call takes."""

    def one_round() -> float:
        started_s = time.process_time()
        for _ in range(times):
            work()
        return (time.process_time() - started_s) / times

    return statistics.median(one_round() for _ in range(ROUNDS))


def logger_with(handler: logging.Handler, level: int = logging.DEBUG) -> logging.Logger:
    logger = get_logger(f"bench.n{id(handler)}")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return logger


def writing(formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(formatter)
    return handler


def main() -> None:
    redactor.hide("a-secret-of-some-length", "another/one+with=signs")
    extra = {
        "event": "operation.slow",
        "namespace": "posts",
        "operation": "create",
        "duration": 1.5,
        "request_id": "r-1",
    }
    error = StorageReadError("no answer", key="posts/log/1", cause=ConnectionError("refused"))

    def record(logger: logging.Logger) -> Callable[[], object]:
        return lambda: logger.warning("namespace %s: %s took %.3f s", "posts", "create", 1.5, extra=extra)

    def failure(logger: logging.Logger) -> Callable[[], object]:
        return lambda: logger.warning("namespace %s: %s", "posts", error, extra={**extra, "error": error})

    plain = logging.Logger("plain", logging.DEBUG)
    plain.addHandler(writing(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")))
    limited = Swallow()
    limited.addFilter(RepeatFilter(limited.handle))
    off = logger_with(Swallow(), logging.ERROR)
    rows = {
        "disabled": (lambda: off.warning("namespace %s: %s took %.3f s", "posts", "create", 1.5), 1_000_000),
        "the standard library alone, written": (record(plain), 20_000),
        "context and redaction, not written": (record(logger_with(Swallow())), 20_000),
        "the same, held back as a repeat": (record(logger_with(limited)), 20_000),
        "written for people": (record(logger_with(writing(ConsoleFormatter()))), 20_000),
        "written as JSON": (record(logger_with(writing(JsonFormatter()))), 20_000),
        "written as JSON, with an error": (failure(logger_with(writing(JsonFormatter()))), 20_000),
    }
    for name, (work, times) in rows.items():
        each_s = seconds_each(work, times)
        print(f"{name:<40}{each_s * 1e6:>9.2f} us{1 / each_s:>14,.0f} /s")


if __name__ == "__main__":
    main()
