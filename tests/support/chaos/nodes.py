"""The Ray of a slice, seen from the slice: started, asked, killed as a whole and started again."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from tests.support.chaos.processes import Child, descendants, kill
from tests.support.chaos.ray_cluster import calls_lost

NODES = 2
START_S, REPLACE_S = 120.0, 60.0


class Nodes:
    """A head, which also serves the clients, and `NODES` more.

    Attributes:
        address: Where clients join.
        raylets: Process ids of the raylets but the head's.
        calls_lost: Calls that Ray has lost on purpose, as far as its logs were looked at: up to the last `kill`.
    """

    def __init__(self, log: Path, settings: dict[str, Any], environment: dict[str, str]) -> None:
        self._log = log
        self._settings = settings
        self._environment = environment
        self._temporary: Path | None = None
        self._process: Child | None = None
        self.address = ""
        self.raylets: list[int] = []
        self.calls_lost = 0

    async def start(self) -> None:
        """Start it."""
        # Short: Ray puts sockets into it, whose paths are limited.
        self._temporary = Path(tempfile.mkdtemp(prefix="pqc"))
        task = {"folder": str(self._temporary), "nodes": NODES, "settings": self._settings}
        ready = asyncio.Event()
        self._process = await Child.start(
            "ray_cluster", task, self._log, environment=self._environment, on_event=lambda _event: ready.set()
        )
        async with asyncio.timeout(START_S):
            await ready.wait()
        self._learn(await self.ask("describe", START_S))

    async def replace(self, index: int) -> None:
        """Start another node in the place of one that was killed."""
        self._learn(await self.ask("replace", REPLACE_S, index=index))

    async def owners(self, timeout_s: float) -> dict[str, int]:
        """Return the process id of each namespace's owner, of those that say so."""
        pids: dict[str, int] = (await self.ask("owners", timeout_s))["pids"]
        return pids

    async def ask(self, command: str, timeout_s: float, **facts: Any) -> dict[str, Any]:
        """Send a command; see `ray_cluster`.

        Raises:
            TimeoutError: there was no answer in time.
            ConnectionError: Ray is down.
            RuntimeError: it could not do it.
        """
        if self._process is None:
            raise ConnectionError("Ray is down")
        answer = await self._process.ask(command, timeout_s, **facts)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    async def kill(self) -> None:
        """Kill every process of it at one blow: what Ray calls an orderly end takes long where nodes were killed."""
        process, self._process = self._process, None
        if process is not None:
            for pid in [process.pid, *descendants(process.pid)]:
                kill(pid, signal.SIGKILL)
            await process.kill()
        if self._temporary is not None:
            self.calls_lost += calls_lost(self._temporary)
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _learn(self, described: dict[str, Any]) -> None:
        self.address, self.raylets = described["address"], described["raylets"]
