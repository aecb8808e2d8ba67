"""The client processes of a slice, and how far they have come."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.chaos.processes import Child
from tests.support.chaos.schedule import NAMESPACES

CLIENTS = 3
START_S, STOP_S, DUMP_S = 120.0, 90.0, 120.0


class Clients:
    """The client processes, and how far they have come.

    Args:
        folder: For their records and logs.
        settings: Of the database.
        environment: Of the processes.
        node_ip: Of the node whose drivers they shall be; any when empty.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], environment: dict[str, str], node_ip: str = "") -> None:
        self._folder = folder
        self._node_ip = node_ip
        self._settings = settings
        self._environment = environment
        self._address = ""
        self._children: list[Child] = []
        self._lives: list[int] = []
        self._progress: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._ready = [asyncio.Event() for _ in range(CLIENTS)]
        self._restarting = [asyncio.Lock() for _ in range(CLIENTS)]

    def records(self) -> list[Path]:
        """Return the files of all clients; those of one in the order of its lives."""
        return [path for index in range(CLIENTS) for path in self._lives_of(index)]

    def _lives_of(self, index: int) -> list[Path]:
        return [self._folder / f"client-{index}.{life}" for life in range(self._lives[index] + 1)]

    async def start(self, address: str) -> None:
        """Start them for a Ray; the first makes the documents that all change."""
        self._address = address
        for index in range(CLIENTS):
            self._lives.append(0)
            self._children.append(await self._start(index, setup=index == 0))
            if index == 0:
                await self.ready(index)
        await asyncio.gather(*(self.ready(index) for index in range(CLIENTS)))

    async def ready(self, index: int) -> None:
        """Return once a client is at work."""
        async with asyncio.timeout(START_S):
            await self._ready[index].wait()

    async def restart(self, index: int) -> str:
        """Kill a client, and start it again with what it had on record."""
        index %= CLIENTS
        async with self._restarting[index]:
            await self._children[index].kill()
            await self._revive(index)
        return f"client {index}, process {self._children[index].pid} now"

    @asynccontextmanager
    async def away(self) -> AsyncIterator[Callable[[str], None]]:
        """Kill all of them; they start again when this is left, for the Ray whose address the value was called with."""
        async with AsyncExitStack() as held:
            for lock in self._restarting:
                await held.enter_async_context(lock)
            await asyncio.gather(*(child.kill() for child in self._children))

            def join(address: str) -> None:
                self._address = address

            yield join
            await asyncio.gather(*(self._revive(index) for index in range(CLIENTS)))

    async def _revive(self, index: int) -> None:
        self._lives[index] += 1
        self._ready[index].clear()
        self._children[index] = await self._start(index)

    async def acknowledged(self, count: int, timeout_s: float, namespaces: Iterable[str] = NAMESPACES) -> None:
        """Return once each of these namespaces has acknowledged so many more writes."""
        goal = {namespace: self._progress[namespace] + count for namespace in namespaces}
        async with asyncio.timeout(timeout_s):
            while any(self._progress[namespace] < number for namespace, number in goal.items()):
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        """Let all finish what they are at, and end."""
        for lock in self._restarting:
            await lock.acquire()
        await asyncio.gather(*(child.ask("stop", STOP_S) for child in self._children))
        await asyncio.gather(*(child.end() for child in self._children))

    async def dump(self) -> Path:
        """Let one more client note all documents as it reads them; return its file."""
        path = self._folder / "dump"
        child = await self._spawn("dump", [path], {"writes": False})
        try:
            await child.ask("dump", DUMP_S)
            await child.ask("stop", STOP_S)
        finally:
            await child.end()
        return path

    async def _start(self, index: int, *, setup: bool = False) -> Child:
        seen: Counter[str] = Counter()

        def on_event(event: dict[str, Any]) -> None:
            if event["event"] == "ready":
                self._ready[index].set()
                return
            new = Counter(event["acknowledged"]) - seen
            self._progress.update(new)
            seen.update(new)
            self._changed.set()

        facts = {"life": self._lives[index], "setup": setup}
        return await self._spawn(f"c{index}", self._lives_of(index), facts, on_event)

    async def _spawn(
        self,
        name: str,
        records: list[Path],
        facts: dict[str, Any],
        on_event: Callable[[dict[str, Any]], None] = lambda _event: None,
    ) -> Child:
        settings = {**self._settings, "ray_address": self._address}
        task = {
            "name": name,
            "records": [str(path) for path in records],
            "settings": settings,
            "node_ip": self._node_ip,
            **facts,
        }
        log = self._folder / f"{name}.log"
        return await Child.start("client", task, log, environment=self._environment, on_event=on_event)
