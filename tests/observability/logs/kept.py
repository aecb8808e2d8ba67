"""A handler that remembers, and loggers of our tree that nobody else uses."""

import itertools
import logging

from parquedb.observability.logs import get_logger

_numbers = itertools.count()


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


def fresh_logger() -> tuple[logging.Logger, Kept]:
    """Return a logger of our tree that logs everything to the handler beside it, and nowhere else."""
    logger, kept = get_logger(f"test.n{next(_numbers)}"), Kept()
    logger.setLevel(logging.DEBUG)
    logger.addHandler(kept)
    logger.propagate = False
    return logger, kept


def raised(error: Exception) -> Exception:
    """Return an error that has a stack."""

    def fail() -> None:
        raise error

    try:
        fail()
    except Exception as caught:  # noqa: BLE001 - any kind may be asked for
        return caught
    return error
