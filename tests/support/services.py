"""Services of the guides: their listings as files, run as processes of their own, and callers that never give up."""

import asyncio
import itertools
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.pages import ROOT

START_S = 60.0


def replica_pids(app: str) -> set[int]:
    """Return the processes of a Serve application's replicas, of a Ray that this process has started."""
    parents, found = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if f"ray::ServeReplica:{app}:" in (folder / "cmdline").read_text():
                found.add(int(folder.name))
        except (OSError, UnicodeDecodeError):
            continue  # It has ended meanwhile.

    def is_ours(pid: int) -> bool:
        while pid > 1 and pid != os.getpid():
            pid = parents.get(pid, 0)
        return pid == os.getpid()

    return {pid for pid in found if is_ours(pid)}


class Service:
    """A uvicorn process.

    Attributes:
        url: Where it listens.
        process: The process; its own server, no worker of one.
    """

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.url = ""
        self._folder = folder
        self._started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lines: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def started(self) -> None:
        """Return when it listens."""
        async with asyncio.timeout(START_S):
            self.url = await self._started

    async def output(self) -> str:
        """Return all that it said, once it has ended."""
        await self._reader
        return "".join(self._lines)

    async def stopped(self) -> int:
        """Ask it to end as an orchestrator does; return its exit status."""
        self.process.terminate()
        async with asyncio.timeout(START_S):
            return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = raw.decode()
            self._lines.append(line)
            found = re.search(r"running on (http://[\d.]+:\d+)", line)
            if found and not self._started.done():
                self._started.set_result(found[1])
        if not self._started.done():
            self._started.set_exception(RuntimeError(f"the service did not start:\n{''.join(self._lines)}"))


@asynccontextmanager
async def running_service(folder: Path, **variables: str) -> AsyncIterator[Service]:
    """`app:app` of a folder under uvicorn, on a port of its own."""
    # Not Ray's variables: with `RAY_AUTH_MODE`, which Ray sets by itself where it starts a cluster, it joins that one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PARQUEDB_")}
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "uvicorn",
            "app:app",
            "--port",
            "0",
            "--no-access-log",
            "--timeout-graceful-shutdown",
            "20",
        ),
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    service = Service(process, folder)
    try:
        await service.started()
        yield service
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Callers:
    """Clients that create posts without a pause, each under a key of its own, and repeat a post until it is answered.

    Attributes:
        made: The document of each key, as it was answered.
        failures: How requests ended that were repeated: a status, or the name of an error.
        refused: Answers that no repeat would change; there should be none.
    """

    def __init__(self, urls: list[str], *, callers: int = 16) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.failures: list[str] = []
        self.refused: list[str] = []
        self._urls = itertools.cycle(urls)
        self._numbers = itertools.count()
        self._callers = callers
        self._stop = self._given_up = False
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Callers"]:
        """Call in the background; at the end every post that was begun is answered."""
        async with httpx.AsyncClient(timeout=30) as client, asyncio.TaskGroup() as group:
            for _ in range(self._callers):
                group.create_task(self._call(client))
            try:
                yield self
            finally:
                self._stop = True

    async def more(self, count: int) -> None:
        """Return once so many more posts have been answered."""
        wanted = len(self.made) + count
        await self.until(lambda: len(self.made) >= wanted)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return once something is so; looked at after every answer."""
        async with asyncio.timeout(60):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    def give_up(self) -> None:
        """Leave what is not answered by now; for when nobody will ever answer."""
        self._stop = self._given_up = True

    async def _call(self, client: httpx.AsyncClient) -> None:
        while not self._stop:
            key = f"key-{next(self._numbers)}"
            while key not in self.made and not self._given_up:
                await self._try(client, key)
                self._changed.set()

    async def _try(self, client: httpx.AsyncClient, key: str) -> None:
        try:
            answer = await client.post(
                f"{next(self._urls)}/posts", json={"title": key}, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError as error:
            self.failures.append(type(error).__name__)
            await asyncio.sleep(0.05)  # Whoever has just died is not back yet.
            return
        if answer.status_code == 201:
            self.made[key] = answer.json()
        elif answer.status_code >= 500:
            self.failures.append(f"{answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(0.05)
        else:
            self.refused.append(f"{answer.status_code} {answer.text[:300]}")
            raise AssertionError(self.refused[-1])
