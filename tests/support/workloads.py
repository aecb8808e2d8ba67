"""Writers that remember exactly what they were told.

Every write sets a token of its own in each document it changes. So the stored history says of every event which attempt
made it, and an attempt's answer can be held against what really happened (`tests.support.chain`).
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from parquedb.errors import OutcomeUnknownError, ParqueDBError, VersionConflictError

COUNTERS = 4
VERSIONED = 4
ACCOUNTS = 4


class State(Enum):
    """What a caller knows of an attempt."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Attempt:
    """One write and its answer.

    Attributes:
        token: Stands in the documents it changed.
        ids: The bare ids it means to change.
        started_s, done_s: Monotonic seconds, comparable between the processes of one machine.
        changed: Bare id and version of what was acknowledged.
        error: Name of the error's class, of a refusal or an unknown outcome.
    """

    token: str
    ids: tuple[str, ...]
    started_s: float
    done_s: float = 0.0
    state: State = State.UNKNOWN
    changed: list[tuple[str, int]] = field(default_factory=list)
    error: str = ""


class Ledger:
    """All attempts, and somewhere to wait for acknowledgements."""

    def __init__(self, name: str = "t") -> None:
        self.attempts: list[Attempt] = []
        self.acknowledged = 0
        self.reads = 0
        self.newest: dict[str, int] = {}
        self.sums: dict[str, int] = {}
        self._name = name
        self._numbers = itertools.count()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def token(self) -> str:
        """Return a new token."""
        return f"{self._name}{next(self._numbers)}"

    async def write(self, token: str, ids: Sequence[str], call: Awaitable[Any], *, adds: int = 0) -> Any:
        """Await a write and note its answer; return it, or the error.

        Args:
            token: What the write puts into the documents.
            ids: The documents it changes.
            call: The write.
            adds: What it adds to the number in its first document; `sums` keeps the totals of what was acknowledged.
        """
        attempt = Attempt(token, tuple(ids), time.monotonic())
        self.attempts.append(attempt)
        try:
            value = await call
        except ParqueDBError as error:
            attempt.done_s = time.monotonic()
            attempt.state = State.UNKNOWN if isinstance(error, OutcomeUnknownError) else State.REFUSED
            attempt.error = type(error).__name__
            return error
        attempt.done_s = time.monotonic()
        attempt.state = State.ACKNOWLEDGED
        documents = value if isinstance(value, list) else [value]
        attempt.changed = [(document["$id"].partition("/")[2], document["version"]) for document in documents]
        for id_, version in attempt.changed:
            self.newest[id_] = max(version, self.newest.get(id_, 0))
        if adds:
            self.sums[ids[0]] = self.sums.get(ids[0], 0) + adds
        self.acknowledged += 1
        self._tell()
        return value

    async def more(self, count: int) -> None:
        """Return once `count` more writes have been acknowledged."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((self.acknowledged + count, future))
        await future

    def _tell(self) -> None:
        due = [future for at, future in self._waiters if at <= self.acknowledged]
        if due:
            self._waiters = [(at, future) for at, future in self._waiters if at > self.acknowledged]
            for future in due:
                if not future.done():
                    future.set_result(None)


class Load:
    """Concurrent writers over the public async collection: creates, `$inc`, versioned updates, transfers, reads.

    Args:
        collection: An `AsyncCollection`, or anything with the same `create`, `update`, `batch`, `get`.
        ledger: Where the answers go.
        writers: How many at once.
        seed: The writers' choices follow from it.
        timeout_s: Of each call.
    """

    def __init__(self, collection: Any, ledger: Ledger, *, writers: int, seed: int, timeout_s: float = 30.0) -> None:
        self._posts = collection
        self._ledger = ledger
        self._writers = writers
        self._seed = seed
        self._timeout_s = timeout_s
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the shared documents and let the writers go."""
        shared = [f"n{i}" for i in range(COUNTERS)] + [f"v{i}" for i in range(VERSIONED)]
        shared += [f"a{i}" for i in range(ACCOUNTS)]
        for id_ in shared:
            await self.create(id_)
        self._tasks = [asyncio.create_task(self._work(writer)) for writer in range(self._writers)]

    async def stop(self) -> None:
        """Let every writer finish what it is at."""
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> "Load":
        await self.start()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None:
            await self.stop()
            return
        for task in self._tasks:
            task.cancel()
        with suppress(Exception):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def create(self, id_: str) -> Any:
        """Create a document."""
        token = self._ledger.token()
        call = self._posts.create({"token": token, "n": 0}, id=id_, timeout_s=self._timeout_s)
        return await self._ledger.write(token, [id_], call)

    async def add(self, id_: str) -> Any:
        """Add 1 to a shared counter."""
        token = self._ledger.token()
        ops = {"$inc": {"n": 1}, "$set": {"token": token}}
        return await self._ledger.write(token, [id_], self._posts.update(id_, ops, timeout_s=self._timeout_s), adds=1)

    async def _set_versioned(self, id_: str) -> None:
        try:
            document = await self._posts.get(id_, timeout_s=self._timeout_s)
        except ParqueDBError:
            return
        token = self._ledger.token()
        call = self._posts.update(
            id_,
            {"$set": {"token": token}},
            expected_version=document["version"],
            timeout_s=self._timeout_s,
        )
        answer = await self._ledger.write(token, [id_], call)
        if isinstance(answer, VersionConflictError):
            assert answer.expected == document["version"]
            assert answer.actual is not None
            assert answer.actual > document["version"]

    async def _transfer(self, source: str, target: str) -> None:
        token = self._ledger.token()
        operations = [
            {"op": "update", "id": id_, "ops": {"$inc": {"n": amount}, "$set": {"token": token}}}
            for id_, amount in ((source, -1), (target, 1))
        ]
        await self._ledger.write(token, [source, target], self._posts.batch(operations, timeout_s=self._timeout_s))

    async def _read(self, id_: str) -> None:
        """A read sees at least every write that was acknowledged before it began."""
        newest = self._ledger.newest[id_]
        try:
            document = await self._posts.get(id_, timeout_s=self._timeout_s)
        except ParqueDBError:
            return
        self._ledger.reads += 1
        assert document is not None, f"{id_} is gone"
        assert document["version"] >= newest, f"{id_}: read version {document['version']} after {newest} was told"

    async def _work(self, writer: int) -> None:
        rng = random.Random(self._seed * 1_000 + writer)
        for number in itertools.count():
            if self._stop:
                return
            choice = rng.random()
            if choice < 0.25:
                await self.create(f"w{writer}-{number}")
            elif choice < 0.65:
                await self.add(f"n{rng.randrange(COUNTERS)}")
            elif choice < 0.8:
                await self._set_versioned(f"v{rng.randrange(VERSIONED)}")
            elif choice < 0.9:
                source, target = rng.sample(range(ACCOUNTS), 2)
                await self._transfer(f"a{source}", f"a{target}")
            else:
                await self._read(f"n{rng.randrange(COUNTERS)}")


async def gathered(works: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Run all at once and return what each gave."""
    return await asyncio.gather(*(work() for work in works))
