"""Clients of the simulated cluster that write and read as users do, each operation until it is answered or given up."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from parquedb.actors.requests.operations import Operation, Request, SessionRequest
from parquedb.documents.update_shapes import shaped_update
from tests.support.sim_calls import Caller, Op, Run
from tests.support.sim_model import SCHEMA_WIRES
from tests.support.sim_plans import IDS, NAMESPACE
from tests.support.virtual_loop import SimClock

if TYPE_CHECKING:
    from tests.support.sim_world import World

_ALWAYS = {
    "create": 14,
    "inc": 22,
    "checked": 12,
    "replace": 4,
    "delete": 4,
    "remove": 3,
    "restore": 3,
    "batch": 7,
    "create many": 3,
    "get": 18,
    "count": 5,
    "find": 5,
}
_MANY = {"update_many": 8, "upsert": 4, "delete_many": 2}
_PAST = {"get as of": 8, "find as of": 12, "history": 8}
_SCHEMAS = {"register": 3}
_SEVERAL = frozenset({"register", "get", "count", "find", "batch", "create many"})


class Client(Caller):
    """Does random operations, each until it is answered or given up."""

    def __init__(self, world: "World", number: int, name: str = "client") -> None:
        super().__init__(world, f"{name}{number}")
        self.number = number
        self.session = b""
        self.born = 0
        self.next_seq = 1
        self.waiting: set[int] = set()
        self.made = 0
        self.seen = 0
        """The highest seq that it was told of."""
        plan = world.plan
        self._weights = {
            **_ALWAYS,
            **(_MANY if plan.many else {}),
            **(_PAST if plan.past else {}),
            **(_SCHEMAS if plan.schemas else {}),
        }

    @property
    def name(self) -> str:
        """What its request ids and tags begin with."""
        return str(self.number)

    async def run(self) -> None:
        await asyncio.gather(*(self.lane() for _ in range(2)))

    def busy(self) -> bool:
        """Whether the run still goes on."""
        return asyncio.get_running_loop().time() < self.world.plan.duration_s

    async def pause(self) -> None:
        await asyncio.sleep(self.rng.expovariate(1 / self.world.plan.ops_pause_s))

    async def lane(self) -> None:
        while self.busy():
            await self.pause()
            if self.number >= self.world.plan.readers and self.rng.random() < 0.1:
                await self._perform_run()
            else:
                operation = self.make()
                await self.perform(operation, named=operation.is_write and self.rng.random() < 0.75)

    async def _perform_run(self) -> None:
        """Send creates or updates in one call, as a client does with what is asked of it at the same time."""
        run, rng = Run(asyncio.get_running_loop().create_future(), self.rng.randrange(2, 5)), self.rng
        joined = [Operation("create", None, self._body(), size=64) for _ in range(run.size)]
        if rng.random() < 0.75:
            ids = rng.sample(IDS, 2)
            plain = [self._write(rng.choice(("inc", "inc", "checked")), rng.choice(ids)) for _ in range(run.size)]
            joined = [replace(update, shaped=shaped_update(update.body)) for update in plain]
        await asyncio.gather(*(self.perform(operation, named=True, run=run) for operation in joined))

    async def perform(self, operation: Operation, *, named: bool, run: Run | None = None) -> Op:
        """Ask again and again until it is decided or time is up; with `named`, under a request id of the session."""
        seq = self._number() if named else None
        session, born = self.session, self.born
        if operation.is_write and seq is None:
            self.made += 1
            operation = replace(operation, request=f"own-{self.name}-{self.made}")
        op = self.new_op(operation)
        give_up_s = op.start_s + self.rng.uniform(0.5, 3.0)
        in_doubt = False
        while True:
            request: Request | None = op.operation.request
            if seq is not None:
                low = min(self.waiting) if session == self.session else 1
                request = SessionRequest(session, seq, min(low, seq), born)
            op.operation = replace(op.operation, request=request)
            verdict = await self.attempt(op, op.operation, run)
            run = None
            if verdict == "lost":
                in_doubt = True
            elif verdict != "not now":
                self.settle(op, verdict)
                break
            elif not in_doubt and not op.maybe_applied() and self.rng.random() < 0.3:
                op.result = "refused"
                break
            now_s = asyncio.get_running_loop().time()
            if now_s > give_up_s:
                op.result = "unknown" if in_doubt or op.maybe_applied() else "refused"
                break
            await asyncio.sleep(self.rng.uniform(0.0, 0.05))
        if seq is not None and session == self.session:
            self.waiting.discard(seq)
        self.finish(op)
        return op

    def settle(self, op: Op, verdict: str) -> None:
        """Take an answer that decides. But an attempt still on its way may decide otherwise when it arrives."""
        op.uncertain = op.message_under_way()
        op.result = "unknown" if verdict == "refused" and op.uncertain else verdict

    def finish(self, op: Op) -> None:
        """Note the end of an operation."""
        op.end_s = asyncio.get_running_loop().time()
        outcome = op.outcome
        if outcome is not None and op.result == "ok":
            self.seen = max(self.seen, outcome.seq)
        told = None if outcome is None else (type(outcome.error).__name__, outcome.seq, outcome.duplicate)
        self.world.note("op", op.number, op.operation.kind, op.operation.id, op.result, told)

    def _number(self) -> int:
        if not self.session or (not self.waiting and self.rng.random() < 0.1):
            self.session, self.next_seq = self.rng.randbytes(16), 1
            engine = self.world.hosts[self.favourite].engine
            self.born = 0 if engine is None else engine.tail
        seq = self.next_seq
        self.next_seq += 1
        self.waiting.add(seq)
        return seq

    # -- what it asks for

    def make(self) -> Operation:
        """Return the next operation."""
        rng = self.rng
        if self.number < self.world.plan.readers:
            return Operation("get", rng.choice(IDS))
        kind = rng.choices(list(self._weights), list(self._weights.values()))[0]
        if kind in _MANY:
            return self._many(kind)
        if kind in _PAST:
            return self._past(kind)
        return self._several(kind) if kind in _SEVERAL else self._write(kind, rng.choice(IDS))

    def _several(self, kind: str) -> Operation:
        """Return what is not about one document, or does not change it."""
        rng = self.rng
        if kind == "register":
            body = {"schema": rng.choice(SCHEMA_WIRES), "mode": "permissive"}
            return Operation("register", None, body, {"validate_existing": True} if rng.random() < 0.3 else {})
        if kind == "get":
            return Operation("get", rng.choice(IDS))
        if kind in ("count", "find"):
            return Operation(kind, options={"filter": {"n": {"$gte": rng.randrange(6)}}} if rng.random() < 0.5 else {})
        if kind == "batch":
            kinds = ("create", "inc", "inc", "checked", "remove")
            parts = [self._write(rng.choice(kinds), rng.choice(IDS)) for _ in range(3)]
            return Operation("batch", body=[part.to_wire() for part in parts])
        bodies = [{"$id": f"{NAMESPACE}/{rng.choice(IDS)}", **self._body()} for _ in range(3)]
        return Operation("create_many", body=bodies, options={"ordered": rng.random() < 0.5})

    def _many(self, kind: str) -> Operation:
        """Return a write to all documents that a filter matches: of few, or soon there would be none left."""
        rng = self.rng
        drawn = rng.random()
        if kind == "upsert" and drawn < 0.4:
            filter_: dict[str, Any] = {"$id": f"{NAMESPACE}/{rng.choice(IDS)}"}
        elif drawn < 0.7:
            filter_ = {"n": rng.randrange(8)}
        else:
            filter_ = {"n": {"$gte": rng.randrange(12, 30) if kind == "delete_many" else rng.randrange(2, 16)}}
        if kind == "delete_many":
            return Operation(kind, None, None, {"filter": filter_, **({"hard": True} if rng.random() < 0.4 else {})})
        options: dict[str, Any] = {"filter": filter_}
        if kind == "update_many" and rng.random() < 0.2:
            options["upsert"] = True
        return Operation(kind, None, {"$inc": {"n": rng.randrange(1, 4)}, "$set": {"tag": self._tag()}}, options)

    def _past(self, kind: str) -> Operation:
        rng = self.rng
        as_of: Any = rng.randrange(self.seen + 2)
        if rng.random() < 0.3:
            now = SimClock.START + timedelta(seconds=asyncio.get_running_loop().time())
            as_of = now - timedelta(seconds=rng.uniform(-1.0, 4.0))
        if kind == "get as of":
            return Operation("get", rng.choice(IDS), None, {"as_of": as_of})
        if kind == "find as of":
            filter_ = {"filter": {"n": {"$gte": rng.randrange(6)}}} if rng.random() < 0.5 else {}
            return Operation(rng.choice(("find", "count")), None, None, {"as_of": as_of, **filter_})
        after = rng.randrange(self.seen + 1) if rng.random() < 0.5 else 0
        return Operation("history", rng.choice(IDS), None, {"after": after, "limit": rng.choice([2, 100])})

    def _body(self) -> dict[str, Any]:
        return {"n": self.rng.randrange(8), "tag": self._tag(), **self.mark()}

    def mark(self) -> dict[str, Any]:
        """Return a field that schemas may refuse, now and then."""
        if not self.world.plan.schemas or self.rng.random() < 0.7:
            return {}
        return {"mark": self.rng.choice([1, 2.5, "three"])}

    def _tag(self) -> str:
        return f"{self.name}:{len(self.world.ops)}:{self.rng.randrange(10**6)}"

    def _write(self, kind: str, id_: str) -> Operation:
        if kind == "create":
            return Operation("create", id_, self._body())
        if kind == "replace":
            return Operation("replace", id_, self._body())
        if kind in ("delete", "remove"):
            return Operation("delete", id_, options={"hard": True} if kind == "remove" else {})
        if kind == "restore":
            return Operation("restore", id_)
        options = {"expected_version": self.rng.randrange(1, 6)} if kind == "checked" else {}
        set_ = {"tag": self._tag(), **self.mark()}
        return Operation("update", id_, {"$inc": {"n": self.rng.randrange(1, 9)}, "$set": set_}, options)
