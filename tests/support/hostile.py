"""A stage for hostile requests: a gateway under uvicorn, on a real socket, over a database on disk between bystanders.

folder/outside.txt, folder/neighbour/   must never change
folder/root/                            the database, with a namespace `victim` that nobody but the test writes
"""

import asyncio
import contextlib
import hashlib
import re
import resource
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from parquedb.cluster.gateway.app import build_app
from parquedb.settings.gateway import GatewaySettings
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.open import open_backend
from tests.support.engine_database import EngineDatabase

ROOT = Path(__file__).parents[2]
VICTIM = "victim"
SECRET = "s3cr3t-of-the-victim-0451"
ANSWER_S = 20.0
GROWTH_BYTES_MAX = 400 << 20
FAULTS_SHOWN_MAX = 60
HONEST = frozenset({503, 504})
"""Statuses of the 5xx class that say "not now"; any other one is a fault of ours."""

LEAKS = re.compile(
    r'Traceback|File "|site-packages|\.py\b|object at 0x|<class |/tmp/|/home/|'
    r"\bparquedb\.[a-z_]+\.|\bray\.|starlette|uvicorn"
)
"""What belongs into a log, and into no answer."""


@dataclass(frozen=True)
class Answer:
    """What came back; `status` is 0 where the connection was closed without an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class DiskDatabase(EngineDatabase):
    """Engines in this process over one directory."""

    async def owner(self, namespace: str) -> Any:
        self._stores.setdefault(namespace, open_backend(self.settings))
        return await super().owner(namespace)


class _Server(uvicorn.Server):
    """Leaves the signals of the test's process alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class Target:
    """A gateway, wherever it runs.

    Attributes:
        port: Where it listens on this machine.
        secrets: What no answer may hold.
    """

    def __init__(self, port: int, *secrets: str) -> None:
        self.port = port
        self.secrets = secrets

    async def send(self, *pieces: bytes, end: bool = False) -> Answer:
        """Send bytes as they are, on a connection of their own, and return the first answer.

        Args:
            *pieces: Each leaves by itself.
            end: Whether this side says that nothing more will come.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(ANSWER_S):
                with contextlib.suppress(OSError):  # It may be closed while we still send.
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                    if end:
                        writer.write_eof()
                return await read_answer(reader)
        finally:
            writer.close()

    async def ask(
        self, method: str, target: str | bytes, body: bytes = b"", headers: Mapping[str, str | bytes] | None = None
    ) -> Answer:
        """Send a request whose target, headers and body are what they are given as, right or wrong."""
        raw = target.encode("latin-1") if isinstance(target, str) else target
        given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        lines = [method.encode() + b" " + raw + b" HTTP/1.1", b"Host: gateway", b"Connection: close"]
        for name, value in given.items():
            lines.append(
                name.encode("latin-1") + b": " + (value.encode("latin-1") if isinstance(value, str) else value)
            )
        return await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def faults_of(self, answer: Answer, what: object, *, statuses: Iterable[int] = ()) -> list[str]:
        """Say what is wrong with an answer.

        Args:
            answer: The answer.
            what: The request, for the message.
            statuses: The only ones that are right; any honest one by default.
        """
        shown = f"{what!r:.200} -> {answer.status} {answer.text[:300]}"
        faults = []
        if statuses and answer.status not in statuses:
            faults.append(f"expected {sorted(statuses)}: {shown}")
        if answer.status >= 500 and answer.status not in HONEST:
            faults.append(f"blames itself: {shown}")
        # Serve's proxy names its server, and has no setting for that.
        told = answer.text + "".join(f"{name}: {value}\n" for name, value in answer.headers.items() if name != "server")
        leak = LEAKS.search(told)
        if leak:
            faults.append(f"tells {leak[0]!r}: {shown}")
        faults += [f"tells {secret!r}: {shown}" for secret in (SECRET, str(ROOT), *self.secrets) if secret in told]
        return faults


class Stage(Target):
    """A gateway in this process, and what is around it.

    Attributes:
        folder: All of it.
        database: Behind the gateway.
        growth_bytes_max: By how much this process may grow.
    """

    def __init__(self, folder: Path, database: EngineDatabase, port: int) -> None:
        super().__init__(port, str(folder))
        self.folder = folder
        self.database = database
        self.growth_bytes_max = GROWTH_BYTES_MAX
        self._before = self.untouchable()
        self._memory_bytes = peak_bytes()

    def untouchable(self) -> dict[str, str]:
        """Digests of all files that no request may change."""
        victim = self.folder / "root" / namespace_prefix(VICTIM)
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and (not path.is_relative_to(self.folder / "root") or path.is_relative_to(victim)):
                found[path.relative_to(self.folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    async def check(self, faults: list[str]) -> None:
        """Fail for these faults, or for harm that all that was sent has done."""
        faults = [*faults]
        if self.untouchable() != self._before:
            faults.append(f"files changed: {self._before.keys() ^ self.untouchable().keys() or 'in place'}")
        grown = peak_bytes() - self._memory_bytes
        if grown > self.growth_bytes_max:
            faults.append(f"memory grew by {grown >> 20} MiB")
        alive = await self.ask("GET", "/health")
        if alive.status != 200:
            faults.append(f"the gateway answers {alive.status}: {alive.text[:200]}")
        assert not faults, "\n".join([f"{len(faults)} faults", *faults[:FAULTS_SHOWN_MAX]])


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer, to the end of what its length says or of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    try:
        length = headers.get("content-length")
        body = await (reader.read() if length is None else reader.readexactly(int(length)))
    except asyncio.IncompleteReadError as cut:
        body = cut.partial
    except ConnectionError:
        body = b""
    return Answer(int(status.split(" ")[1]), headers, body)


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@asynccontextmanager
async def staged(folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """The stage, with a gateway that has these settings."""
    (folder / "neighbour").mkdir()
    (folder / "outside.txt").write_text(SECRET)
    (folder / "neighbour" / "data.json").write_text(SECRET)
    (folder / "root").mkdir()
    database = DiskDatabase(folder / "root")
    await database["victim"].create({"secret": SECRET}, id="one")
    listener = socket.create_server(("127.0.0.1", 0))
    app = build_app(database, GatewaySettings(**settings))
    server = _Server(uvicorn.Config(app, log_config=None, server_header=False, timeout_graceful_shutdown=5))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield Stage(folder, database, listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        await database.close()
