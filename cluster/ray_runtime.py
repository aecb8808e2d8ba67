"""Ray in this process: joined if it runs, started if not, ended by whoever started it when nobody uses it any more."""

import logging
import threading
from collections.abc import Callable

import ray

from parquedb.errors import RpcUnavailableError
from parquedb.settings import Settings

_lock = threading.Lock()
_users = 0
_started_here = False


def join(settings: Settings, *, counted: bool = True) -> None:
    """Make sure that Ray is initialised; a cluster that runs already is joined, else one starts in this machine.

    Args:
        settings: `ray_address` names a cluster; None means "one that runs here, or a new one".
        counted: Whether this is one more user, who will call `leave`.

    Raises:
        RpcUnavailableError: `ray_address` was given and there is no cluster.
    """
    global _users, _started_here  # noqa: PLW0603 - Ray itself is one per process
    with _lock:
        if not ray.is_initialized():
            try:
                _started_here = _init(settings)
            except ConnectionError as error:
                message = f"no Ray cluster at {settings.ray_address!r}; start one, or leave ray_address out"
                raise RpcUnavailableError(message, cause=error) from error
        if counted:
            _users += 1


def leave(release: Callable[[], None]) -> None:
    """Count one user less; the last one ends a Ray that `join` started, after `release` has run."""
    global _users, _started_here  # noqa: PLW0603 - as above
    with _lock:
        _users -= 1
        if _users > 0 or not _started_here:
            return
        _started_here = False
        if ray.is_initialized():
            release()
            ray.shutdown()


def _init(settings: Settings) -> bool:
    if settings.ray_address is not None:
        _ray_init(settings, settings.ray_address)
        return False
    try:
        _ray_init(settings, "auto")
    except ConnectionError:
        _ray_init(settings, "local", include_dashboard=False)
        return True
    return False


def _ray_init(settings: Settings, address: str, *, include_dashboard: bool | None = None) -> None:
    ray.init(
        address=address,
        namespace=settings.ray_namespace,
        include_dashboard=include_dashboard,
        log_to_driver=False,
        # The application decides about its logging, not a library's library.
        configure_logging=False,
        logging_level=logging.WARNING,
    )
