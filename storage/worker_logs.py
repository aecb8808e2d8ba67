"""Worker logs by URL: opening a view on them, and feeding it with what a process of ours logs."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from parquedb.clock import SystemClock
from parquedb.errors import ConfigurationError
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.logs import get_logger
from parquedb.observability.losses import LOG_RECORDS
from parquedb.observability.worker_logs.rows import Redact
from parquedb.observability.worker_logs.upkeep import UpkeepOptions
from parquedb.observability.worker_logs.view import EXIT_S, WorkerLogsView, create_worker_logs_view
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.open import open_backend

SETTING: Final = "PARQUEDB_WORKER_LOGS"


def open_worker_logs(
    url: str,
    dataset_path: str = "",
    *,
    settings: Settings | None = None,
    read_only: bool = False,
    **options: Any,
) -> WorkerLogsView:
    """Return a view on the worker logs at a URL; storage is met by the first record or question.

    Args:
        url: A path, `file://`, `s3://bucket/prefix` or `memory://name`.
        dataset_path: Folder of the data set below it.
        settings: Credentials, endpoint and limits of the store; from the environment when None.
        read_only: For questions alone: a local directory must exist.
        **options: As `create_worker_logs_view` takes them.

    Raises:
        ConfigurationError: a setting cannot be used.
        InvalidInputError: an option is unknown or out of range.
    """
    base = load_settings(url) if settings is None else settings.model_copy(update={"url": url})
    # Logs have no replica, and what their own storage goes through is no operation of the database.
    base = base.model_copy(update={"storage": base.storage.model_copy(update={"read_fallback_url": None})})

    def open_storage() -> StorageBackend:
        return wrap_backend(
            open_backend(base, read_only=read_only),
            base.storage,
            clock=SystemClock(),
            hooks=HookRegistry(),
            rng=random.Random(),  # noqa: S311 - jitter
        )

    return create_worker_logs_view(open_storage, dataset_path, **options)


def check_worker_logs(url: str, database_url: str) -> None:
    """Check that the worker logs and the database have places of their own; both URLs in canonical form.

    Raises:
        ConfigurationError: one lies in the other: its files would be taken for a namespace, or be looked through as
            logs.
    """
    one, other = url + "/", database_url + "/"
    if one.startswith(other) or other.startswith(one):
        message = f"worker_logs {url!r} and the database {database_url!r} must not lie in each other"
        raise ConfigurationError(message, setting=SETTING)


@dataclass(slots=True)
class _Attached:
    view: WorkerLogsView
    handler: logging.Handler
    uncount: Callable[[], None]
    users: int = 0


_attached: dict[str, _Attached] = {}
_lock = threading.Lock()


def attach_worker_logs(
    settings: Settings, script: str | None = None, redact: Redact | None = None
) -> Callable[[], None]:
    """Store what the `parquedb` loggers of this process say from now on, if the settings ask for it.

    Args:
        settings: `worker_logs` says where; None means nowhere.
        script: What this process is called; the name of the running script when None.
        redact: Takes secrets out of a record.

    Returns:
        How to end it: what waits is then stored, within a few seconds. The last of several callers for one place ends
        it; without that it ends with the process.
    """
    url = settings.worker_logs
    if url is None:
        return lambda: None
    with _lock:
        attached = _attached.get(url)
        if attached is None:
            view = open_worker_logs(url, settings=settings, script=script, redact=redact, upkeep=_upkeep(settings))
            uncount = LOG_RECORDS.count(lambda: _lost(view))
            attached = _attached[url] = _Attached(view, view.handler(settings.log_level), uncount)
            get_logger().addHandler(attached.handler)
        attached.users += 1

    def detach() -> None:
        with _lock:
            attached.users -= 1
            if attached.users or _attached.get(url) is not attached:
                return
            del _attached[url]
            get_logger().removeHandler(attached.handler)
        attached.view.close()
        attached.uncount()

    return detach


def close_worker_logs() -> None:
    """Store what waits in all views that were attached, for a process that is about to end."""
    with _lock:
        attached = list(_attached.values())
        _attached.clear()
    for each in attached:
        get_logger().removeHandler(each.handler)
        each.view.close(EXIT_S)
        each.uncount()


def _upkeep(settings: Settings) -> UpkeepOptions | None:
    interval_s, keep_s = settings.worker_logs_upkeep_s, settings.worker_logs_keep_s
    return UpkeepOptions(interval_s, keep_s or None) if interval_s else None


def _lost(view: WorkerLogsView) -> int:
    counts = view.stats()
    return counts.dropped + counts.rejected
