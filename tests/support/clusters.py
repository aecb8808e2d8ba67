"""Two Ray clusters that know nothing of each other, each with one owner of the same namespace.

Each cluster lives in a process of its own, which runs this file, starts the owner, keeps calling it through the raw
actor handle and says on stdout what it was told:

python tests/support/clusters.py '{"settings": {...}, "name": "a", "writers": 4}'

One JSON object per line. In: `{"do": "activate"}`, `{"do": "stop"}`. Out: `{"event": "ready"}`, `{"event": "activated",
"started_s", "done_s", "epoch", "pid"}`, and of each call `{"event": "call", ...}` with the fields of `Told`.
"""

import asyncio
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NAMESPACE = "posts"
START_S = 90.0
PAUSE_S = 0.02
LINE_BYTES_MAX = 1 << 20


@dataclass(slots=True)
class Told:
    """One call through a handle and its answer.

    Attributes:
        kind: `create`, `update` (of the document `shared`) or `get` (of the same).
        token: What the write put into the document.
        id: The bare id.
        started_s, done_s: Monotonic seconds of this machine.
        version: Of the document in the answer; None when there was an error.
        error: Name of the error's class, or "".
    """

    kind: str
    token: str
    id: str
    started_s: float
    done_s: float = 0.0
    version: int | None = None
    error: str = ""


class Cluster:
    """A cluster's process, as the test sees it.

    Attributes:
        told: Everything its callers were told so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self.told: list[Told] = []

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            if event.pop("event") == "call":
                self.told.append(Told(**event))
                self._changed.set()
            else:
                await self._answers.put(event)

    async def answer(self) -> dict[str, Any]:
        """Return its next answer to a command."""
        async with asyncio.timeout(START_S):
            waiting = asyncio.ensure_future(self._answers.get())
            await asyncio.wait({waiting, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            assert waiting.done(), "the cluster's process has ended"
            return waiting.result()

    async def activate(self) -> dict[str, Any]:
        """Make its actor the owner."""
        await self._send("activate")
        return await self.answer()

    async def until(self, count: int, *, kind: str, since_s: float, error: str = "") -> None:
        """Return once so many calls that began after `since_s` were answered this way."""
        async with asyncio.timeout(30):
            while True:
                self._changed.clear()
                found = sum(
                    one.started_s > since_s and one.error == error and (one.kind == "get") == (kind == "read")
                    for one in self.told
                )
                if found >= count:
                    return
                await self._changed.wait()

    async def stop(self) -> None:
        """Let its callers finish and end it."""
        if self._process.returncode is None:
            await self._send("stop")
            try:
                async with asyncio.timeout(30):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reader

    async def _send(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command}).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def running_cluster(place: dict[str, Any], name: str, *, writers: int = 4) -> AsyncIterator[Cluster]:
    """A new Ray cluster with callers; `place` is the arguments of `connect`, and JSON can hold it."""
    task = json.dumps({"settings": place, "name": name, "writers": writers})
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        task,
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_BYTES_MAX,
    )
    cluster = Cluster(process)
    try:
        await cluster.answer()
        yield cluster
    finally:
        await cluster.stop()


class _Callers:
    """Inside the cluster's process: calls the owner without a pause worth mentioning, fenced or not."""

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self._name = name
        self._numbers = itertools.count()
        self._stop = False

    async def write(self, writer: int) -> None:
        rng = random.Random(f"{self._name}{writer}")
        while not self._stop:
            number = next(self._numbers)
            token = f"{self._name}:{number}"
            if number % 2:
                told = Told("create", token, f"{self._name}-{number}", time.monotonic())
                await self._tell(told, self._handle.create.remote({"token": token}, id=told.id))
            else:
                told = Told("update", token, "shared", time.monotonic())
                ops = {"$inc": {"n": 1}, "$set": {"token": token}}
                await self._tell(told, self._handle.update.remote("shared", ops))
            await asyncio.sleep(rng.random() * PAUSE_S)

    async def read(self) -> None:
        while not self._stop:
            await self._tell(Told("get", "", "shared", time.monotonic()), self._handle.get.remote("shared"))
            await asyncio.sleep(PAUSE_S)

    async def _tell(self, told: Told, reply: Any) -> None:
        from parquedb.cluster.transport.calls import reply_to  # noqa: PLC0415 - only in the cluster's own process
        from parquedb.errors import ParqueDBError  # noqa: PLC0415 - as above

        try:
            document = await reply_to(reply, NAMESPACE)
        except ParqueDBError as error:
            told.error = type(error).__name__
        else:
            told.version = document["version"]
        told.done_s = time.monotonic()
        _say("call", **asdict(told))

    def stop(self) -> None:
        self._stop = True


def _say(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


async def _serve(task: dict[str, Any]) -> None:
    from parquedb.cluster.runtime.placement import find_or_create  # noqa: PLC0415 - only in the cluster's own process
    from parquedb.settings.environment import load_settings  # noqa: PLC0415 - as above

    handle = find_or_create(load_settings(**task["settings"]), NAMESPACE)
    await handle.ping.remote()
    _say("ready")
    callers = _Callers(handle, task["name"])
    working: list[asyncio.Task[None]] = []
    commands = await _lines_of_stdin()
    async for line in commands:
        if json.loads(line)["do"] == "stop":
            break
        started_s = time.monotonic()
        activation = await handle.activate.remote()
        _say("activated", started_s=started_s, done_s=time.monotonic(), **activation)
        # The first owner must have made the shared document; the others find it.
        if not working:
            working = [asyncio.create_task(callers.write(writer)) for writer in range(task["writers"])]
            working.append(asyncio.create_task(callers.read()))
    callers.stop()
    await asyncio.gather(*working)


async def _lines_of_stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _main() -> None:
    import ray  # noqa: PLC0415 - only in the cluster's own process

    # Short: Ray puts sockets into it, whose paths are limited.
    folder = tempfile.mkdtemp(prefix="pq")
    try:
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=80 << 20,
            namespace="parquedb",
            _temp_dir=folder,
        )
        asyncio.run(_serve(json.loads(sys.argv[1])))
        ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()
