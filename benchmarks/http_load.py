"""An HTTP load from a process of its own (`python -m benchmarks.http_load`, a `Load` as JSON on stdin).

Each connection stays open, sends a request, reads the answer, and sends the next. Nothing is parsed but where an answer
ends and what its status is, so that the load takes little of the processors that it shares with the server.
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

STATUS: Final = slice(9, 12)
LENGTH: Final = b"content-length:"
HEAD_END: Final = b"\r\n\r\n"
LAST_CHUNK: Final = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What is to be sent.

    Attributes:
        host: A literal address.
        port: Where the server listens.
        requests: Whole requests, taken in turn; each connection begins at another one.
        connections: How many, each with one request under way.
        seconds: How long requests are begun.
    """

    host: str
    port: int
    requests: list[str]
    connections: int
    seconds: float


@dataclass
class Answered:
    """What came back.

    Attributes:
        answers: All whole answers.
        statuses: Answers by status.
        elapsed_s: From the first request to the last answer.
        cpu_s: What the load itself took of a processor.
    """

    answers: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    cpu_s: float = 0.0

    def count(self, status: str) -> None:
        """Count one more."""
        self.statuses[status] = self.statuses.get(status, 0) + 1

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answers / self.elapsed_s


class _Connection(asyncio.Protocol):
    """One connection: as soon as an answer is whole the next request leaves."""

    def __init__(self, requests: list[bytes], first: int, end_s: float, answered: Answered) -> None:
        self._requests = requests
        self._next = first
        self._end_s = end_s
        self._answered = answered
        self._data = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        data = self._data + data if self._data else data
        head = data.find(HEAD_END)
        if head < 0 or not _is_whole(data, head):
            self._data = data
            return
        self._data = b""
        answered = self._answered
        answered.answers += 1
        answered.count(data[STATUS].decode())
        if time.perf_counter() < self._end_s:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if time.perf_counter() < self._end_s:
            self._answered.count("connection lost")
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._transport.write(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)


def _is_whole(data: bytes, head: int) -> bool:
    lower = data[:head].lower()
    at = lower.find(LENGTH)
    if at < 0:
        # In chunks; of which an answer of a few hundred bytes has one or two.
        return data.endswith(LAST_CHUNK)
    end = lower.find(b"\r", at)
    return len(data) >= head + 4 + int(lower[at + len(LENGTH) : end if end >= 0 else head])


async def offer(load: Load) -> Answered:
    """Send a load and count the answers."""
    answered = Answered()
    requests = [request.encode("latin-1") for request in load.requests]
    loop = asyncio.get_running_loop()
    started_s, cpu_s = time.perf_counter(), time.process_time()
    made = []
    for number in range(load.connections):
        first = number * len(requests) // load.connections
        connection = _Connection(requests, first, started_s + load.seconds, answered)
        await loop.create_connection(lambda made=connection: made, load.host, load.port)
        made.append(connection.done)
    await asyncio.gather(*made)
    answered.elapsed_s, answered.cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    return answered


def offered(load: Load) -> Answered:
    """Send a load from a new process."""
    command = [sys.executable, "-m", "benchmarks.http_load"]
    done = subprocess.run(command, input=json.dumps(asdict(load)), stdout=subprocess.PIPE, text=True, check=True)
    return Answered(**json.loads(done.stdout))


def main() -> None:
    """Read a load from stdin, write what came back to stdout."""
    try:
        import uvloop  # noqa: PLC0415 - comes with Serve, and halves what the load itself costs

        run = uvloop.run
    except ImportError:
        run = asyncio.run
    json.dump(asdict(run(offer(Load(**json.load(sys.stdin))))), sys.stdout)


if __name__ == "__main__":
    main()
