"""Ray in this process: joined if it runs, started if not, ended by whoever started it when nobody uses it any more."""

import atexit
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import ray
from ray._private import worker as ray_worker
from ray.exceptions import RayError

from parquedb.cluster.reporting import journal
from parquedb.cluster.runtime.head import reach_head
from parquedb.cluster.runtime.placement import close_owners
from parquedb.errors import ConfigurationError, RpcUnavailableError
from parquedb.settings import Settings

REACH_TIMEOUT_S = 5.0
"""Seconds to reach the port of a cluster's head. Ray itself would try for minutes, and then end the process."""

_LISTENER = "listen_error_messages"
"""The function of Ray's that prints what raylets say; a thread of every driver runs it."""

_lock = threading.Lock()
_lasting = threading.Event()
_users = 0
_started_here = False
_ray_in_front = False


def join(settings: Settings, *, counted: bool = True) -> None:
    """Make sure that Ray is initialised; a cluster that runs already is joined, else one starts in this machine.

    Args:
        settings: `ray_address` names a cluster; None means "one that runs here, or a new one".
        counted: Whether this is one more user, who will call `leave`.

    Raises:
        RpcUnavailableError: `ray_address` or RAY_ADDRESS was given and there is no cluster.
        ConfigurationError: `ray_address`, or RAY_ADDRESS, is no address.
    """
    global _users, _started_here, _ray_in_front  # noqa: PLW0603 - Ray itself is one per process
    with _lock:
        if not ray.is_initialized():
            try:
                _started_here = _init(settings)
                _ray_in_front = True
                journal.ray_joined(settings.ray_address, started=_started_here)
            except (OSError, RayError, RuntimeError) as error:
                raise RpcUnavailableError(_unreachable(*_named(settings), error), cause=error) from error
            except ValueError as error:
                setting, address = _named(settings)
                message = f"{setting} {address!r}: expected 'host:port', 'ray://host:port' or 'auto' ({error})"
                raise ConfigurationError(message, setting=setting, cause=error) from error
        if counted:
            _users += 1
    take_sigterm_back()


def take_sigterm_back() -> None:
    """Let SIGTERM go to the program's handler alone; does nothing outside the main thread, which Python demands.

    Ray puts a handler of its own in front. It calls the other one too, but first it sets an alarm: three seconds later
    the process is aborted, whatever its orderly end still has to do, such as owners that say goodbye or a server
    that answers what it has begun.
    """
    global _ray_in_front  # noqa: PLW0603 - as above
    if _ray_in_front and threading.current_thread() is threading.main_thread():
        _ray_in_front = False
        handler = signal.getsignal(signal.SIGTERM)
        if callable(handler):
            signal.signal(signal.SIGTERM, handler)


def leave() -> None:
    """Count one user less; the last one ends a Ray that `join` started, after its owners have said goodbye."""
    global _users, _started_here  # noqa: PLW0603 - as above
    with _lock:
        _users -= 1
        if _users > 0 or not _started_here:
            return
        _started_here = False
        if ray.is_initialized():
            close_owners()
            ray.shutdown()
        _lasting.set()


def _farewell() -> None:
    """A program that ends without closing its databases takes a Ray that was started for it along."""
    if _started_here and ray.is_initialized():
        close_owners()


def _init(settings: Settings) -> bool:
    """Join or start a Ray; return whether one was started."""
    _, address = _named(settings)
    reach_head(address, REACH_TIMEOUT_S)
    if settings.ray_address is not None:
        _ray_init(settings.ray_address)
        return False
    # Ray runs its workers at low priority, for they are meant to be guests of the machine. Owners answer calls: at low
    # priority they would wait for any other busy program. A cluster that is joined has made its own choice.
    os.environ.setdefault("RAY_worker_niceness", "0")
    start_or_join = partial(_start_or_join, "local" if not address and _left_by_a_dead_cluster() else None)
    if threading.current_thread() is threading.main_thread():
        return start_or_join()
    return _in_lasting_thread(start_or_join)


def _named(settings: Settings) -> tuple[str, str]:
    """Return who names the cluster to join, and its address: "" where nobody does."""
    if settings.ray_address is not None:
        return "ray_address", settings.ray_address
    return "RAY_ADDRESS", os.environ.get("RAY_ADDRESS", "")


def _start_or_join(address: str | None) -> bool:
    try:
        # Labels may be given for a new cluster only: so Ray says whether it would join one. "auto" would not do, it
        # also joins the private Ray of any other program on this machine.
        _ray_init(address, include_dashboard=False, labels={})
    except ValueError:
        _ray_init(None)
        return False
    # After `ray.init`, so that it runs before what Ray registered for the same moment.
    atexit.register(_farewell)
    return True


def _left_by_a_dead_cluster() -> bool:
    """Whether the address that `ray start` leaves on this machine is one where nobody listens any more.

    Ray would try to join that cluster for minutes. A cluster that was killed cannot take the address back.
    """
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - where Ray puts it
    try:
        address = Path(folder, "ray", "ray_current_cluster").read_text().strip()
    except OSError:
        return False
    try:
        reach_head(address, REACH_TIMEOUT_S)
    except (OSError, ValueError):
        return True
    return False


def _in_lasting_thread(work: Callable[[], bool]) -> bool:
    """Run `work` in a thread that stays until Ray has been left.

    The kernel ends the processes of a Ray with the thread that started them, and this one may be an executor's.
    """
    global _lasting  # noqa: PLW0603 - as above
    result: Future[bool] = Future()
    left = threading.Event()

    def run() -> None:
        try:
            result.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            result.set_exception(error)
        else:
            left.wait()

    threading.Thread(target=run, name="parquedb-ray", daemon=True).start()
    _lasting = left
    return result.result()


def _unreachable(setting: str, address: str, error: Exception) -> str:
    if not address:
        return f"no Ray could be started here: {error}"
    return (
        f"no Ray cluster could be reached at {setting} {address!r}: {error}. Start one (`ray start --head`), correct "
        "the address, or leave it out to use a Ray of this machine; a cluster that asks for a token wants "
        "RAY_AUTH_MODE=token and its RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH in the environment of this process"
    )


def _ray_init(
    address: str | None, *, include_dashboard: bool | None = None, labels: dict[str, str] | None = None
) -> None:
    with _raylets_unheard():
        ray.init(
            address=address,
            include_dashboard=include_dashboard,
            labels=labels,
            log_to_driver=False,
            # The application decides about its logging, not a library's library.
            configure_logging=False,
            logging_level=logging.WARNING,
        )


@contextlib.contextmanager
def _raylets_unheard() -> Iterator[None]:
    """Let a Ray that is joined meanwhile print nothing on standard output: it is the program's, and may go into a pipe.

    `log_to_driver` is about workers. For what raylets say of their nodes Ray starts a thread in every driver, which
    prints it, and no option keeps it from that. It is given nothing to do; Ray's own logs have what it would print.
    A program that calls `ray.init` itself gets what it asks for.
    """
    listen = getattr(ray_worker, _LISTENER, None)
    if listen is None:  # Another version of Ray.
        yield
        return
    setattr(ray_worker, _LISTENER, lambda *_: None)
    try:
        yield
    finally:
        setattr(ray_worker, _LISTENER, listen)
