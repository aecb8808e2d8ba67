"""Callers of the gateway while things go wrong: each remembers what it asked and what it was told."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any

from parquedb.errors import ParqueDBError
from tests.support.workloads import Ledger

WRITERS = 3
COUNTERS = 4
MANY = 500
"""Documents of one call."""

PACE_S = 0.05
"""Mean pause of a caller between two calls: a database that is well has time to spare."""


def batched(ids: Iterable[str], count: int) -> Iterator[list[str]]:
    """Yield lists of so many; the last may be shorter."""
    rest = iter(ids)
    while some := list(itertools.islice(rest, count)):
        yield some


class Callers:
    """Writers and a reader, and jobs that a drill adds to them.

    Args:
        posts: An async collection behind the gateway.
        timeout_s: Of each call.

    Attributes:
        ledger: What they asked and were told.
        wrong: Reads that showed less than had been told before.
    """

    def __init__(self, posts: Any, *, timeout_s: float = 10.0) -> None:
        self.posts = posts
        self.ledger = Ledger()
        self.wrong: list[str] = []
        self._timeout_s = timeout_s
        self._tasks: list[asyncio.Task[None]] = []
        self._jobs: dict[str, list[asyncio.Task[None]]] = {}
        self._stop = False

    async def start(self) -> None:
        """Make the shared documents, then call until `stop`."""
        for number in range(COUNTERS):
            await self.create(f"n{number}")
        works = [self._write(writer) for writer in range(WRITERS)] + [self._read()]
        self._tasks = [asyncio.create_task(work) for work in works]

    async def stop(self) -> None:
        """Let all of them finish what they are at."""
        self._stop = True
        for name in list(self._jobs):
            await self.end_job(name)
        await asyncio.gather(*self._tasks)

    def begin_job(self, name: str, works: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Begin to do some works again and again."""

        async def again(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
            while name in self._jobs and not self._stop:
                await work()

        self._jobs[name] = []
        self._jobs[name] = [asyncio.create_task(again(work)) for work in works]

    async def end_job(self, name: str) -> None:
        """End one when its calls under way have been answered."""
        await asyncio.gather(*self._jobs.pop(name))

    async def create(self, id_: str, **data: Any) -> Any:
        """Create a document."""
        token = self.ledger.token()
        call = self.posts.create({"token": token, "n": 0, **data}, id=id_, timeout_s=self._timeout_s)
        return await self.ledger.write(token, [id_], call)

    async def create_all(self, ids: Iterable[str]) -> None:
        """Create many documents in few calls."""
        for some in batched(ids, MANY):
            token = self.ledger.token()
            operations = [{"op": "create", "id": id_, "data": {"token": token, "n": 0}} for id_ in some]
            await self.ledger.write(token, some, self.posts.batch(operations, timeout_s=self._timeout_s))

    async def update(self, id_: str, *, expected_version: int | None = None) -> Any:
        """Add 1 to a document."""
        token = self.ledger.token()
        ops = {"$inc": {"n": 1}, "$set": {"token": token}}
        call = self.posts.update(id_, ops, expected_version=expected_version, timeout_s=self._timeout_s)
        return await self.ledger.write(token, [id_], call)

    async def _write(self, writer: int) -> None:
        rng = random.Random(writer)
        for number in itertools.count():
            if self._stop:
                return
            if rng.random() < 0.3:
                await self.create(f"w{writer}-{number}")
            else:
                await self.update(f"n{rng.randrange(COUNTERS)}")
            await asyncio.sleep(rng.random() * 2 * PACE_S)

    async def _read(self) -> None:
        rng = random.Random("reader")
        while not self._stop:
            id_ = f"n{rng.randrange(COUNTERS)}"
            newest = self.ledger.newest[id_]
            with suppress(ParqueDBError):
                document = await self.posts.get(id_, timeout_s=self._timeout_s)
                if document is None or document["version"] < newest:
                    self.wrong.append(f"{id_}: read {document} after version {newest} had been told")
            await asyncio.sleep(rng.random() * 2 * PACE_S)
