"""Waiting for a process to listen."""

import socket
import time

START_S = 60.0
_LOOKS_APART_S = 0.05


def until_listening(host: str, port: int, timeout_s: float = START_S) -> None:
    """Return once somebody accepts connections there.

    Raises:
        TimeoutError: nobody does in time.
    """
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        try:
            socket.create_connection((host, port), 1.0).close()
        except OSError:
            time.sleep(_LOOKS_APART_S)
        else:
            return
    raise TimeoutError(f"nobody listens at {host}:{port} after {timeout_s:g} s")
