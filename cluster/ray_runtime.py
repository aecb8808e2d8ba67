"""Ray in this process: joined if it runs, started if not, ended by whoever started it when nobody uses it any more."""

import logging
import os
import threading
from collections.abc import Callable

import ray
from ray.exceptions import RayError

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
            except (ConnectionError, RayError, RuntimeError) as error:
                where = f"at {settings.ray_address!r}" if settings.ray_address else "here"
                message = f"no Ray cluster could be reached {where}: {error}"
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
    """Join or start a Ray; return whether one was started."""
    if settings.ray_address is not None:
        _ray_init(settings.ray_address)
        return False
    # Ray runs its workers at low priority, for they are meant to be guests of the machine. Owners answer calls: at low
    # priority they would wait for any other busy program. A cluster that is joined has made its own choice.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        # Labels may be given for a new cluster only: so Ray says whether it would join one. "auto" would not do, it
        # also joins the private Ray of any other program on this machine.
        _ray_init(None, include_dashboard=False, labels={})
    except ValueError:
        _ray_init(None)
        return False
    return True


def _ray_init(
    address: str | None, *, include_dashboard: bool | None = None, labels: dict[str, str] | None = None
) -> None:
    ray.init(
        address=address,
        include_dashboard=include_dashboard,
        labels=labels,
        log_to_driver=False,
        # The application decides about its logging, not a library's library.
        configure_logging=False,
        logging_level=logging.WARNING,
    )
