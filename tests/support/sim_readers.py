"""Clients of the simulated cluster that only read, and remember where they are: followers, pagers, snapshot holders."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parquedb import errors
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.documents.filters import compile_filter
from parquedb.storage.backend import StorageBackend
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.query import scan
from parquedb.storage.snapshot import SnapshotContent
from tests.support.sim_calls import Op
from tests.support.sim_clients import Client
from tests.support.sim_hosts import runner
from tests.support.sim_plans import NAMESPACE
from tests.support.virtual_loop import Process, SimClock

if TYPE_CHECKING:
    from tests.support.sim_world import World

_RENEWALS = 3
_RATE_MARGIN = 1.06
"""Clocks of owners run at most this much faster than the simulation's."""


class Follower(Client):
    """Follows the feed of changes, from one owner to the next."""

    def __init__(self, world: "World", number: int) -> None:
        super().__init__(world, number, "follower")
        self.after = 0
        self.told: list[list[Any]] = []

    async def run(self) -> None:
        while self.busy():
            await self.pause()
            options = {"after": self.after, "limit": self.rng.choice([1, 3, 100]), "wait_s": self.rng.choice([0, 0.1])}
            op = await self.perform(Operation("changes", options=options), named=False)
            if op.result == "ok" and op.outcome is not None:
                changes = op.outcome.value["changes"]
                self.told += changes
                self.after = changes[-1][0] if changes else self.after
            elif op.outcome is not None and isinstance(op.outcome.error, errors.EventNotFoundError):
                # Too slow: what follows is not kept any more. It goes on with what is, as a user has to.
                self.after = op.outcome.error.context["oldest"] - 1
                self.told = []


class Pager(Client):
    """Turns the pages of queries while others write."""

    def __init__(self, world: "World", number: int) -> None:
        super().__init__(world, number, "pager")

    async def run(self) -> None:
        while self.busy():
            await self.pause()
            query: dict[str, Any] = {"limit": self.rng.choice([2, 3])}
            if self.rng.random() < 0.5:
                query["sort"] = self.rng.choice(["n", "-n"])
            if self.rng.random() < 0.5:
                query["filter"] = {"n": {"$gte": self.rng.randrange(4)}}
            await self._turn(query)

    async def _turn(self, query: dict[str, Any]) -> None:
        last: dict[str, Any] | None = None
        cursor: dict[str, Any] = {}
        while self.busy():
            op = await self.perform(Operation("find", options={**query, **cursor}), named=False)
            if op.result != "ok" or op.outcome is None:
                return
            op.expected = last
            page = op.outcome.value
            if not page["next_cursor"]:
                return
            last, cursor = page["items"][-1], {"cursor": page["next_cursor"]}
            await self.pause()


@dataclass(slots=True)
class Hold:
    """A snapshot that somebody holds.

    Attributes:
        keys: The objects it needs.
        seq: What it shows.
        from_s: When it was asked for, virtual seconds.
        until_s: Until when it is held without a break. Once it has lapsed a renewal may come too late.
        readings: What was read of it: when, and the documents.
    """

    keys: frozenset[str]
    seq: int
    from_s: float
    until_s: float
    readings: list[tuple[float, list[dict[str, Any]]]] = field(default_factory=list)

    def renewed(self, sent_s: float, lease_s: float) -> None:
        """Note that a renewal, sent at some time, was answered."""
        if sent_s <= self.until_s:
            self.until_s = max(self.until_s, sent_s + lease_s)

    def ended(self, time_s: float) -> None:
        """Note that from here on nobody wants it any more."""
        self.until_s = min(self.until_s, time_s)

    def holds(self, time_s: float) -> bool:
        return self.from_s <= time_s <= self.until_s


class Holder(Client):
    """Takes snapshots, reads them from storage by itself again and again, and renews its hold meanwhile."""

    def __init__(self, world: "World", number: int) -> None:
        super().__init__(world, number, "holder")
        self.process = Process(f"s{number}")
        self._clock = SimClock(self.process)
        self._storage: StorageBackend = world.connect(self.process, self._clock, f"holder{number}")

    async def run(self) -> None:
        while self.busy():
            await self.pause()
            op = await self.perform(Operation("snapshot"), named=False)
            if op.result == "ok" and op.outcome is not None:
                await self._use(op, op.outcome.value)

    async def _use(self, op: Op, answer: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        content = SnapshotContent.of(NAMESPACE, answer)
        lease_s = answer["lease_s"] / _RATE_MARGIN
        keys = frozenset(part.file.key for part in content.parts)
        hold = Hold(keys, answer["seq"], op.sent_s, op.sent_s + lease_s)
        self.world.holds.append(hold)
        end_s = loop.time() + self.rng.uniform(2.0, 6.0) * self.world.settings.snapshot_grace_s
        renewing = asyncio.ensure_future(self._renew(hold, answer["token"], lease_s))
        try:
            while loop.time() < end_s and self.busy() and await self._read(hold, content):
                await asyncio.sleep(self.rng.uniform(0.1, 1.0))
        finally:
            renewing.cancel()
            hold.ended(loop.time())
        await self._ask(Operation("unpin", body=answer["token"]))

    async def _read(self, hold: Hold, content: SnapshotContent) -> bool:
        """Read everything from storage; return whether the snapshot is still there."""
        loop, run = asyncio.get_running_loop(), runner(self.world, self.process, self.rng)
        start_s = loop.time()
        files = DataFiles(self._storage, NAMESPACE, cache_bytes_max=0, run=run)
        try:
            found = await scan.find(content.scan(files), compile_filter(None), limit=None)
        except errors.CorruptionError as error:
            if isinstance(error.cause, errors.ObjectNotFoundError) and not hold.holds(loop.time()):
                self.world.note("let go", hold.seq)
                return False
            self.world.corrupt(error, f"reading a snapshot held since {hold.from_s}")
        except errors.ParqueDBError as error:
            self.world.note("unread", hold.seq, type(error).__name__)
        else:
            hold.readings.append((start_s, found))
        return True

    async def _renew(self, hold: Hold, token: str, lease_s: float) -> None:
        while True:
            await asyncio.sleep(lease_s / _RENEWALS)
            sent_s = asyncio.get_running_loop().time()
            if await self._ask(Operation("pin", body=[token, sorted(hold.keys)])) is not None:
                hold.renewed(sent_s, lease_s)

    async def _ask(self, operation: Operation) -> Outcome | None:
        """Ask once; None when nothing or an error came back."""
        op = Op(-1, operation, asyncio.get_running_loop().time())
        verdict = await self.attempt(op, operation)
        return op.outcome if verdict == "ok" else None
