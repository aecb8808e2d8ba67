"""Writing our logs: in an application that asks for it, and in every owner's process."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO

from parquedb.observability.logs.formats import ConsoleFormatter, JsonFormatter
from parquedb.observability.logs.logger import get_logger
from parquedb.observability.logs.redaction import redactor
from parquedb.observability.logs.repeats import RepeatFilter
from parquedb.settings.logs import LogSettings

_lock = threading.Lock()
_undo: list[Callable[[], None]] = []


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes records as the settings say; one per process."""

    def __init__(self, stream: TextIO, settings: LogSettings) -> None:
        super().__init__(stream)
        self.setFormatter(JsonFormatter() if settings.log_format == "json" else ConsoleFormatter())
        self._repeats = RepeatFilter(self.handle, passed_max=settings.log_repeats_max, window_s=settings.log_repeats_s)
        self.addFilter(self._repeats)

    def close(self) -> None:
        """Say what was held back, and leave the stream open."""
        self._repeats.flush()
        super().close()


def configure_logging(  # noqa: PLR0913 - one argument for each thing that is asked for
    level: str | None = None,
    *,
    format: str | None = None,  # noqa: A002 - the word everybody looks for
    levels: Mapping[str, str] | None = None,
    redact: Iterable[str] | None = None,
    stream: TextIO | None = None,
    root: bool = False,
) -> Callable[[], None]:
    """Write what ParqueDB logs in this process; what is not given comes from `PARQUEDB_LOG_*`, else from defaults.

    Called again it replaces what it set up before. Nothing outside the `parquedb` tree is touched unless `root` asks
    for it, and what is written here is not passed on to the handlers of the root logger, or it would appear twice.

    Args:
        level: `DEBUG`, `INFO` (the default), `WARNING`, `ERROR` or `CRITICAL`.
        format: `console` (the default) or `json`, one object per line.
        levels: Of parts of the tree, such as `{"storage": "DEBUG"}`.
        redact: Fields of documents whose values are never logged, besides what is hidden anyway.
        stream: Where it goes; `sys.stderr` by default.
        root: Write the application's records as well, by a handler on the root logger, whose level becomes `level`.

    Returns:
        How to undo it.

    Raises:
        ConfigurationError: there is no such level or format.
    """
    # Owners get their settings from clients, and start without the library that reads the environment.
    from parquedb.settings.environment import load_log_settings  # noqa: PLC0415 - see above

    settings = load_log_settings(
        log_level=level,
        log_format=format,
        log_levels=None if levels is None else dict(levels),
        log_redact=None if redact is None else tuple(redact),
    )
    return apply_log_settings(settings, stream=stream, root=root)


def apply_log_settings(
    settings: LogSettings, *, stream: TextIO | None = None, root: bool = False
) -> Callable[[], None]:
    """Do what `configure_logging` does, with settings as they are."""
    redactor.hide_environment()
    redactor.hide_fields(settings.log_redact)
    with _lock:
        for undo in _undo:
            undo()
        _undo[:] = [_set_up(LogHandler(stream or sys.stderr, settings), settings, root=root)]
        return _undo[0]


def _set_up(handler: LogHandler, settings: LogSettings, *, root: bool) -> Callable[[], None]:
    tree = get_logger()
    target = logging.getLogger() if root else tree
    wanted = {tree: settings.log_level, **{get_logger(name): level for name, level in settings.log_levels}}
    if root:
        wanted[target] = settings.log_level
    before = {logger: logger.level for logger in wanted}
    propagated = tree.propagate
    for logger, level in wanted.items():
        logger.setLevel(level)
    target.addHandler(handler)
    tree.propagate = root

    def undo() -> None:
        if handler not in target.handlers:
            return
        target.removeHandler(handler)
        handler.close()
        tree.propagate = propagated
        for logger, level in before.items():
            logger.setLevel(level)

    return undo
