"""Random lives of a namespace, and the plain record of what it was after each change."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.writes.commit_group import BulkRequest
from parquedb.errors import ParqueDBError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.bulk.load_entry import Bulk
from parquedb.storage.bulk.load_file import Plan, build
from parquedb.storage.bulk.table import rows_of
from parquedb.storage.log.entry import LogEntry
from parquedb.storage.log.manifest import object_key
from tests.support.engines import NAMESPACE, engine, outcome, run
from tests.support.virtual_loop import SimClock

Document = dict[str, Any]
Step = tuple[Any, ...]

IDS = ("a", "b", "c", "d", "e")
MANY = (*IDS, "m0", "m1", "m2", "m5")
"""Also some that come by `create_many` and bulk loads."""

values = st.sampled_from([0, 1, 2.5, "x", None, [1, 2], {"y": 1}, {"y": 1, "z": "w"}, True])
changes = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(IDS), values),
    st.tuples(st.just("create_many"), st.integers(1, 3), values),
    st.tuples(st.just("load"), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
    st.tuples(st.just("update"), st.sampled_from(MANY), values),
    st.tuples(st.just("upsert"), st.sampled_from(IDS), values),
    st.tuples(st.just("replace"), st.sampled_from(IDS), values),
    st.tuples(st.just("delete"), st.sampled_from(MANY)),
    st.tuples(st.just("remove"), st.sampled_from(MANY)),
    st.tuples(st.just("restore"), st.sampled_from(IDS)),
)
upkeep = st.sampled_from([("flush",), ("restart",), ("crash",), ("compact",), ("wait",), ("collect",)])
lives = st.lists(st.one_of(changes, changes, changes, upkeep), min_size=1, max_size=40)


@dataclass(slots=True)
class Life:
    """A namespace that is being lived, and what it was.

    Attributes:
        states: What it was after each seq; `states[0]` is empty.
        events: The id that each seq touched, and the document afterwards.
        times: Clock time after each seq.
    """

    store: MemoryBackend
    clock: SimClock
    settings: dict[str, Any]
    owner: NamespaceEngine
    states: list[dict[str, Document]] = field(default_factory=lambda: [{}])
    events: list[tuple[str, Document | None]] = field(default_factory=list)
    times: list[Any] = field(default_factory=list)
    made: int = 0
    incarnations: int = 1

    @classmethod
    async def begin(cls, clock: SimClock, **settings: Any) -> "Life":
        """Open an empty namespace."""
        store = MemoryBackend(clock=clock)
        values = {"checkpoint_entries_max": 4, "snapshot_grace_s": 60, "log_grace_s": 10, **settings}
        life = cls(store, clock, values, engine(store, clock=clock, seed=1, **values))
        await life.owner.open()
        life.times.append(clock.now())
        return life

    async def live(self, steps: Sequence[Step]) -> None:
        """Take some steps."""
        for step in steps:
            await self.clock.sleep(1)
            await self.step(*step)

    async def step(self, kind: str, *arguments: Any) -> None:
        """Take one step; a refused change changes nothing."""
        if kind == "load":
            await self.load(*arguments)
        elif kind == "collect":
            # An owner leaves the holders of snapshots the time to say so before it collects by itself.
            await self.clock.sleep(5)
            await self.owner.collect()
        elif kind in {"flush", "compact"}:
            await getattr(self.owner, kind)()
        elif kind == "wait":
            await self.clock.sleep(100)
        elif kind in {"restart", "crash"}:
            await self.reopen(clean=kind == "restart")
        else:
            try:
                await self._change(kind, *arguments)
            except ParqueDBError:
                return

    async def reopen(self, *, clean: bool = True) -> None:
        """Let the next owner take over."""
        if clean:
            await self.owner.close()
        self.owner.abandon()
        # Chance decides when an owner collects first: the same life shall go the same way each time.
        self.incarnations += 1
        self.owner = engine(self.store, clock=self.clock, seed=self.incarnations, **self.settings)
        await self.owner.open()

    async def _change(self, kind: str, *arguments: Any) -> None:
        if kind == "create_many":
            count, value = arguments
            ids = [f"m{self.made + at}" for at in range(count)]
            self.made += count
            await run(self.owner, "create_many", body=[{"$id": id_, "v": value} for id_ in ids])
        else:
            id_, *value = arguments
            ids = [id_]
            bodies = {"create": "v", "replace": "v", "update": "$set", "upsert": "$set"}
            body = None
            if kind in bodies:
                body = {"v": value[0]} if bodies[kind] == "v" else {"$set": {"v": value[0]}}
            options = {"upsert": True} if kind == "upsert" else {"hard": True} if kind == "remove" else {}
            real = {"upsert": "update", "remove": "delete"}.get(kind, kind)
            answer = await outcome(self.owner, real, id_, body, **options)
            answer.result()
            if answer.seq < len(self.states):
                return  # Nothing to delete, nothing to restore: no change.
        for id_ in ids:
            document = await run(self.owner, "get", id_, include_deleted=True)
            state = {**self.states[-1], id_: document}
            if document is None:
                del state[id_]
            self.states.append(state)
            self.events.append((id_, document))
            self.times.append(self.clock.now())

    async def load(self, values: Sequence[Any], ids: Sequence[str] = ()) -> None:
        """Load documents in bulk: their file is stored first, then named by an entry of the log."""
        owner, ids = self.owner, ids or [f"m{self.made + at}" for at in range(len(values))]
        self.made += len(ids)
        await self._load(ids, values)
        for id_ in ids:
            document = await run(owner, "get", id_)
            self.states.append({**self.states[-1], id_: document})
            self.events.append((id_, document))
            self.times.append(self.clock.now())

    async def _load(self, ids: Sequence[str], values: Sequence[Any]) -> None:
        state = self.owner._data
        key = object_key("data", state.epoch, f"{self.made:032x}", ".parquet")
        plan = Plan(NAMESPACE, self.clock.now(), None, "$id", state.registry)
        built = build(key, rows_of(pa.table({"$id": list(ids), "v": list(values)}), plan, 0), plan)
        await self.store.create(state.prefix + key, built.data)
        landed: asyncio.Future[LogEntry | None] = asyncio.get_running_loop().create_future()
        bulk = Bulk((built.file,), built.columns, ())
        self.owner._writer.submit_bulk(BulkRequest(lambda: bulk, landed))
        await landed

    async def seen(self, as_of: Any) -> dict[str, Document]:
        """Return everything that a query as of some point finds."""
        found = (await run(self.owner, "find", as_of=as_of, include_deleted=True, limit=1000))["items"]
        return {document["$id"].partition("/")[2]: document for document in found}


def random_steps(rng: random.Random, count: int) -> list[Step]:
    """Return a long life, in which data files get merged and the oldest changes forgotten."""
    steps: list[Step] = []
    for _ in range(count):
        dice = rng.random()
        if dice < 0.7:
            kind = rng.choice(["create", "update", "update", "upsert", "replace", "delete", "remove", "restore"])
            value = rng.choice([rng.randrange(5), 2.5, "x", None, [1, 2], {"y": rng.randrange(3)}, {"y": "w", "z": 1}])
            steps.append(
                (kind, rng.choice(IDS if kind in {"create", "upsert"} else MANY), value)[
                    : 2 if kind in {"delete", "remove", "restore"} else 3
                ]
            )
        elif dice < 0.75:
            kind, values = rng.choice(["create_many", "load"]), [rng.randrange(5) for _ in range(rng.randrange(1, 4))]
            steps.append(("load", values) if kind == "load" else (kind, len(values), values[0]))
        else:
            steps.append((rng.choice(["flush", "flush", "flush", "compact", "restart", "crash", "wait", "collect"]),))
    return steps
