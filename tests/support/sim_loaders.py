"""Loaders of the simulated cluster: processes that make data files themselves and have an owner commit them."""

import asyncio
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from parquedb import errors
from parquedb.actors.loads.load import Load, Terms, first_ulid
from parquedb.actors.requests.operations import BULK_TERMS, INSERT_ARROW, Operation
from parquedb.storage.bulk.store import BulkStore
from parquedb.storage.log.commit import Committer
from tests.support.sim_calls import Op
from tests.support.sim_clients import Client
from tests.support.sim_hosts import runner
from tests.support.sim_plans import IDS, NAMESPACE
from tests.support.virtual_loop import Process, SimClock

if TYPE_CHECKING:
    from tests.support.sim_world import World


class Loader(Client):
    """Loads a few documents in bulk, again and again; dies and pauses in the middle, and goes on under the same id."""

    def __init__(self, world: "World", number: int) -> None:
        super().__init__(world, number, "loader")
        self.deaths = 0
        self.calm = False
        """Whether it neither dies nor pauses by itself, and stores all its files itself."""
        self._start()

    @property
    def name(self) -> str:
        return f"load{self.number}"

    def _start(self) -> None:
        self.process = Process(f"l{self.number}.{self.deaths}")
        clock = SimClock(self.process, skew_s=self.rng.uniform(-2.4, 2.4))
        self._committer = Committer(
            self.world.connect(self.process, clock, f"loader{self.process.name}"), clock, self.rng
        )

    async def run(self) -> None:
        while self.busy():
            await asyncio.sleep(self.rng.expovariate(4.0))
            await self.load(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of a load: with ids of their own, some of which may be taken, or without."""
        rng, mark = self.rng, self.mark()
        rows = [{"n": rng.randrange(8), "tag": self._tag(), **mark} for _ in range(rng.randrange(1, 4))]
        drawn = rng.random()
        if drawn < 0.3:
            return rows
        if drawn < 0.6:
            return [{"$id": id_, **row} for id_, row in zip(rng.sample(IDS, len(rows)), rows, strict=True)]
        return [{"$id": f"load{rng.randrange(40)}-{at}", **row} for at, row in enumerate(rows)]

    async def load(self, rows: list[dict[str, Any]]) -> Op:
        """Load some rows, until that is decided or time is up."""
        self.made += 1
        op = self.new_op(Operation(INSERT_ARROW, None, {"rows": rows}, request=f"own-{self.name}-{self.made}"))
        small = self.rng.random() < 0.25 and not self.calm
        give_up_s = op.start_s + self.rng.uniform(1.0, 4.0)
        load: Load | None = None
        while True:
            verdict = "not now"
            if small:
                verdict = await self.attempt(
                    op, Operation(INSERT_ARROW, None, _ipc(rows), request=op.operation.request)
                )
            else:
                if load is None:
                    verdict, load = await self._stored(op, rows, give_up_s)
                if load is not None:
                    again = Operation(INSERT_ARROW, None, load.to_wire(), request=op.operation.request)
                    verdict = await self.attempt(op, again)
                    load = None if self._is_stale(op) else load
            if verdict in ("ok", "refused"):
                self.settle(op, verdict)
                break
            if asyncio.get_running_loop().time() > give_up_s:
                op.result = "unknown" if op.maybe_applied() else "refused"
                break
            if self.rng.random() < 0.1:
                load = None  # Whoever repeats the whole call does not know what it has stored.
            await asyncio.sleep(self.rng.uniform(0.0, 0.1))
        self.finish(op)
        return op

    @staticmethod
    def _is_stale(op: Op) -> bool:
        """Whether the last delivery that ended asks for other files."""
        for outcome in (delivery.outcome() for delivery in reversed(op.deliveries)):
            if outcome is not None:
                error = outcome.error
                conflict = isinstance(error, errors.ConflictError)
                return conflict and error.code is errors.ErrorCode.CONCURRENT_MODIFICATION
        return False

    async def _stored(self, op: Op, rows: list[dict[str, Any]], give_up_s: float) -> tuple[str, Load | None]:
        """Ask for terms and store files under them; also says what to make of it if there is no load."""
        question = Operation(BULK_TERMS, body=[op.operation.request])
        asked = Op(-1, question, op.start_s)
        verdict = await self.attempt(asked, question)
        if verdict != "ok" or asked.outcome is None:
            return "not now", None
        told = asked.outcome.value
        if "known" in told:
            op.outcome = type(asked.outcome)(told["known"][1], seq=asked.outcome.seq, duplicate=True)
            return "ok", None
        work = asyncio.ensure_future(self._files(Terms.from_wire(told["terms"]), rows))
        if self.rng.random() < 0.15 and not self.calm:
            self.process.paused_until_s = asyncio.get_running_loop().time() + self.rng.uniform(0.2, 3.0)
        dies_s = self.rng.uniform(0.0, 0.1) if self.rng.random() < 0.1 and not self.calm else None
        done, _ = await asyncio.wait([work], timeout=dies_s or max(0.1, give_up_s - asyncio.get_running_loop().time()))
        if not done:
            # Its files, and packets on their way, are left behind; another process repeats the call.
            self.process.dead = True
            self.deaths += 1
            self.world.note("loader died", self.process.name)
            self._start()
            return "not now", None
        try:
            return "not now", work.result()
        except errors.ValidationError as error:
            op.outcome = type(asked.outcome)(error=error)
            return "not now" if op.maybe_applied() else "refused", None
        except errors.ParqueDBError as error:
            self.world.note("not stored", type(error).__name__)
            return "not now", None

    async def _files(self, terms: Terms, rows: list[dict[str, Any]]) -> Load:
        store = BulkStore(self._committer, terms.epoch, self.rng, runner(self.world, self.process, self.rng))
        plan = terms.plan(NAMESPACE, actor=None, id_column="$id")
        made = await store.rows(_table(rows), plan, first_ulid(terms.at.timestamp(), self.rng))
        await self.process.gate()
        return terms.load(await store.store(made, plan), fresh="$id" not in rows[0], answer={})


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


def _ipc(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    table, sink = _table(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {"ipc": sink.getvalue().to_pybytes()}
