"""The `parquedb` tree of the standard `logging` module: silent until the application listens."""

import logging

from parquedb.observability.logs.record_filter import RecordFilter

ROOT_NAME = "parquedb"
"""Name of the root of our tree; set levels and handlers on `logging.getLogger("parquedb")`."""

# Without it, Python prints a library's warnings on stderr when the application has set up no logging.
logging.getLogger(ROOT_NAME).addHandler(logging.NullHandler())


_prepare = RecordFilter()


class _Forward(logging.Handler):
    """Hand every record of our tree to another logger, which applies its own level and handlers."""

    def __init__(self, target: logging.Logger) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        if self._target.isEnabledFor(record.levelno):
            self._target.handle(record)


def get_logger(name: str = "") -> logging.Logger:
    """Return a logger of our tree; its records carry their context and no secrets, whatever handles them.

    Args:
        name: A dotted path below the root; `storage`, `parquedb.storage` and a module's `__name__` all work.
    """
    below = "" if name == ROOT_NAME else name.removeprefix(f"{ROOT_NAME}.")
    logger = logging.getLogger(f"{ROOT_NAME}.{below}" if below else ROOT_NAME)
    # On each logger: what hangs on the root of the tree alone is not asked about its children's records.
    logger.addFilter(_prepare)
    return logger


def set_logger(logger: logging.Logger | None) -> None:
    """Send everything ParqueDB logs to `logger` and nowhere else; None goes back to the `parquedb` tree.

    Raises:
        ValueError: `logger` is part of the `parquedb` tree, which would forward to itself.
    """
    if logger is not None and (logger.name == ROOT_NAME or logger.name.startswith(f"{ROOT_NAME}.")):
        raise ValueError(f"expected a logger outside the 'parquedb' tree, got {logger.name!r}")
    root = logging.getLogger(ROOT_NAME)
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forward)]:
        root.removeHandler(handler)
    root.propagate = logger is None
    if logger is not None:
        root.addHandler(_Forward(logger))
