"""A simulated cluster: rival owners of one namespace over one lossy store, and clients that retry.

Everything random comes from the seed, everything timed from the virtual loop: the same seed gives the same trace.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from parquedb import errors
from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.operations import Operation, Outcome, Request, SessionRequest
from parquedb.actors.packing import decode_operations, decode_outcomes, encode_operations, encode_outcomes, whole
from parquedb.documents.update_shapes import shaped_update
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import KIB, MIB, EngineSettings, StorageSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.layers import wrap_backend
from tests.support.sim_store import CLEAR, SimConnection, SimStore, Weather
from tests.support.virtual_loop import Process, SimClock

NAMESPACE = "posts"
IDS = [f"doc{number}" for number in range(9)]

DECIDED = (
    errors.VersionConflictError,
    errors.AlreadyExistsError,
    errors.EntityNotFoundError,
    errors.ValidationError,
    errors.InvalidUpdateError,
)
"""Refusals that look at the documents: they also settle what earlier attempts came to."""


_SLOW_MESSAGE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How hard one run is."""

    name: str = "plain"
    hosts: int = 3
    clients: int = 3
    duration_s: float = 12.0
    fault_max: float = 0.05
    pause_max_s: float = 3.0
    takeover_s: float = 2.5
    ops_pause_s: float = 0.06
    readers: int = 0
    """Clients that only read: an owner that never writes meets its fence late."""
    wander: float = 0.03
    """How often a client turns to another host for no reason."""
    hunted: bool = False
    """Whether it is the owner that gets paused, and a rival opens at once."""


PLAIN = Plan()
STORM = Plan(name="storm", hosts=4, fault_max=0.12, takeover_s=1.2)
BUSY = Plan(name="busy", hosts=2, fault_max=0.02, takeover_s=4.0, ops_pause_s=0.03, duration_s=8.0)
SPLIT = Plan(
    name="split", clients=4, readers=2, fault_max=0.01, takeover_s=0.8, wander=0.15, pause_max_s=0.5, duration_s=8.0
)
TIGHT = Plan(name="tight", fault_max=0.02, takeover_s=2.0, pause_max_s=7.0, hunted=True, ops_pause_s=0.04)
PLANS = (PLAIN, STORM, BUSY, SPLIT, TIGHT)


@dataclass(slots=True, eq=False)
class Op:
    """One operation of a client, and what it was told."""

    number: int
    operation: Operation
    start_s: float
    end_s: float = 0.0
    result: str = "running"
    """`ok`, `refused` (certainly not applied), `unknown`."""
    outcome: Outcome | None = None
    uncertain: bool = False
    """Whether another delivery of it was still under way when it was answered."""
    deliveries: list[tuple[Process, "asyncio.Task[list[Outcome]]"]] = field(default_factory=list)

    @property
    def key(self) -> Any:
        request = self.operation.request
        return tuple(request[:2]) if isinstance(request, SessionRequest) else request

    def message_under_way(self) -> bool:
        """Whether some host may still come to decide about it."""
        return any(not task.done() and not process.dead for process, task in self.deliveries)

    def maybe_applied(self) -> bool:
        """Whether some delivery may have applied it, or may yet; refusals that decide nothing leave that open."""
        for _, task in self.deliveries:
            if not task.done() or task.cancelled() or task.exception() is not None:
                return True
            error = task.result()[0].error
            if error is None or isinstance(error, errors.OutcomeUnknownError):
                return True
        return False


class Host:
    """A place where an owner can live; one at a time, any number after each other."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.generation = 0
        self.engine: NamespaceEngine | None = None
        self.process = Process(f"h{number}.0")
        self.rng = world.rng_for(f"host{number}")

    def boot(self) -> None:
        """Start a fresh process: memory is empty, the clock is another one."""
        self.generation += 1
        self.engine = None
        self.process = Process(f"h{self.number}.{self.generation}")

    def crash(self) -> None:
        self.world.note("crash", self.process.name)
        self.process.dead = True
        self.boot()

    async def activate(self) -> None:
        """Open the namespace here unless that is done or being done."""
        if self.engine is not None and self.engine.state in ("open", "opening", "new"):
            return
        process, world = self.process, self.world
        self.generation += 1
        clock = SimClock(process, rate=self.rng.uniform(0.95, 1.05), skew_s=self.rng.uniform(-2.4, 2.4))
        engine = NamespaceEngine(
            NAMESPACE,
            world.connect(process, clock, f"{process.name}.{self.generation}"),
            world.settings,
            clock=clock,
            rng=world.rng_for(f"engine{self.number}.{self.generation}"),
            hooks=HookRegistry(),
            run=_runner(world, process, self.rng),
        )
        self.engine = engine
        try:
            await engine.open()
        except errors.CorruptionError as error:
            world.violate(f"opening at {process.name} met {error!r}")
        except errors.ParqueDBError as error:
            world.note("open failed", process.name, type(error).__name__)
        else:
            world.note("opened", process.name, engine.epoch)

    async def execute(self, payload: bytes) -> bytes:
        """Serve one call that has arrived."""
        process = self.process
        await process.gate()
        engine = self.engine
        operations = decode_operations(payload)
        if engine is None or engine.state != "open":
            error = errors.RpcUnavailableError("nobody is at home")
            outcomes = [Outcome(error=error)] * len(operations)
        else:
            outcomes = await engine.execute(operations)
        reply = encode_outcomes(operations, outcomes, 0.0)
        await process.gate()
        return reply


def _runner(world: "World", process: Process, rng: random.Random) -> Callable[[Callable[[], Any]], Any]:
    async def run(work: Callable[[], Any]) -> Any:
        await asyncio.sleep(rng.uniform(0, 0.01))
        await process.gate()
        try:
            return work()
        except errors.ParqueDBError:
            raise
        except Exception as error:
            world.violate(f"CPU work of {process.name} failed: {error!r}")
            raise

    return run


class World:
    """One run."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.seed = seed
        self.plan = plan
        self.rng = self.rng_for("world")
        self.violations: list[str] = []
        self.ops: list[Op] = []
        self._rivals: list[asyncio.Task[None]] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._trace: list[str] | None = None
        self.store = SimStore(self.note)
        self.weather = self._draw_weather()
        rng = self.rng
        self.settings = EngineSettings(
            read_lease_s=rng.choice([0.0, 0.1, 0.2, 0.4]),
            checkpoint_entries_max=rng.choice([3, 8]),
            flush_rows=rng.choice([3, 10]),
            flush_interval_s=rng.choice([0.5, 2.0]),
            log_grace_s=1.0,
            snapshot_grace_s=rng.choice([1.0, 2.0]),
            collect_interval_s=0.3,
            compaction_interval_s=rng.choice([0.2, 0.7]),
            compaction_files=2,
            compaction_dead_share=rng.choice([0.1, 0.4]),
            compaction_file_bytes=rng.choice([KIB, MIB, MIB]),
            compaction_bytes_max=MIB,
            session_window=8,
            sessions_max=rng.choice([4, 1000]),
            session_idle_s=rng.choice([1, 60]),
            request_ids_max=rng.choice([10, 1000]),
            request_id_window_s=rng.choice([2, 60]),
            request_timeout_s=1.0,
            queue_ops_max=rng.choice([4, 1000]),
            group_ops_max=rng.choice([1, 4]),
            cache_bytes_max=rng.choice([0, 1 << 20]),
        )
        self.layered = rng.random() < 0.4
        self.hosts = [Host(self, number) for number in range(plan.hosts)]
        self.clients = [Client(self, number) for number in range(plan.clients)]

    def rng_for(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def _draw_weather(self) -> Weather:
        rng, most = self.rng_for("weather"), self.plan.fault_max
        return Weather(
            lost_request=rng.uniform(0, most),
            lost_reply=rng.uniform(0, most),
            late=rng.uniform(0, most),
            duplicate=rng.uniform(0, most),
            conflict=rng.uniform(0, most),
            unavailable_applied=rng.uniform(0, most),
            refused=rng.uniform(0, most / 2),
            stall=rng.uniform(0, most),
        )

    def connect(self, process: Process, clock: SimClock, name: str) -> StorageBackend:
        connection = SimConnection(self.store, process, self.rng_for(f"net{name}"), self.weather)
        if not self.layered:
            return connection
        storage = StorageSettings(
            timeout_s=1.0, retry_base_s=0.01, retry_max_s=0.1, breaker_failures=3, breaker_open_s=0.3
        )
        return wrap_backend(connection, storage, clock=clock, hooks=HookRegistry(), rng=self.rng_for(f"layers{name}"))

    def note(self, *facts: Any) -> None:
        line = f"{asyncio.get_running_loop().time():.6f} {facts}"
        self._hash.update(line.encode())
        if self._trace is not None:
            self._trace.append(line)

    def record(self) -> list[str]:
        """Keep the trace, for a look at a failing seed."""
        self._trace = []
        return self._trace

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def violate(self, text: str) -> None:
        self.note("VIOLATION", text)
        self.violations.append(text)

    async def run(self) -> None:
        """Let it all happen, then calm down until every late packet has arrived."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_error)
        chaos = asyncio.ensure_future(self._chaos())
        await asyncio.gather(*(client.run() for client in self.clients))
        chaos.cancel()
        for host in self.hosts:
            host.crash()
        await asyncio.sleep(self.weather.late_s + self.weather.stall_s + 3 * self.weather.timeout_s)

    def _on_loop_error(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or isinstance(error, errors.ParqueDBError):
            return  # A task of a dead process that nobody awaits any more.
        self.violate(f"a background task died of {error!r}")

    async def _chaos(self) -> None:
        rng, plan = self.rng, self.plan
        running: set[asyncio.Task[Any]] = set()
        while True:
            await asyncio.sleep(rng.uniform(0.05, plan.takeover_s / 2))
            host = rng.choice(self.hosts)
            whats = ("activate", "crash", "pause", "close", "flush", "collect", "compact")
            what = rng.choices(whats, (6, 2, 4, 1, 3, 2, 1))[0]
            self.note(what, host.process.name)
            if what == "activate":
                work: Any = host.activate()
            elif what == "crash":
                host.crash()
                continue
            elif what == "pause":
                if plan.hunted:
                    host = self._hunt(host)
                until_s = asyncio.get_running_loop().time() + rng.uniform(0.1, plan.pause_max_s)
                host.process.paused_until_s = until_s
                continue
            elif host.engine is None or host.engine.state != "open":
                continue
            else:
                work = getattr(host.engine, what)()
            task = asyncio.ensure_future(_calmly(work))
            running.add(task)

    def _hunt(self, otherwise: Host) -> Host:
        """Choose the owner to be paused, and let another host open in its place."""
        owners = [host for host in self.hosts if host.engine is not None and host.engine.state == "open"]
        if not owners:
            return otherwise
        victim = self.rng.choice(owners)
        rival = self.rng.choice([host for host in self.hosts if host is not victim])
        rival.process.paused_until_s = 0.0
        self._rivals.append(asyncio.ensure_future(_calmly(rival.activate())))
        return victim

    async def final_owner(self) -> Host:
        """Open once more in clear weather."""
        self.weather = CLEAR
        host = Host(self, len(self.hosts))
        for _ in range(20):
            await host.activate()
            if host.engine is not None and host.engine.state == "open":
                return host
        self.violate("nobody can open the namespace in clear weather")
        return host


async def _calmly(work: Any) -> None:
    try:
        await work
    except errors.ParqueDBError:
        return


class Run:
    """Operations whose first attempts travel in one call."""

    def __init__(self, sent: "asyncio.Future[asyncio.Task[list[Outcome]]]", size: int) -> None:
        self.size = size
        self.host: Host | None = None
        self._sent = sent
        self._joined: list[Operation] = []

    async def join(self, client: "Client", host: Host, operation: Operation) -> list[Outcome]:
        at = len(self._joined)
        self._joined.append(operation)
        if at == 0:
            # All that is asked of the client in one turn of its loop travels together.
            await asyncio.sleep(0)
            self._sent.set_result(asyncio.ensure_future(client._deliver(host, self._joined)))
        task = await self._sent
        return [(await asyncio.shield(task))[at]]


class Client:
    """Does random operations, each until it is answered or given up."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.rng = world.rng_for(f"client{number}")
        self.favourite = 0
        self.session = b""
        self.born = 0
        self.next_seq = 1
        self.waiting: set[int] = set()
        self.made = 0
        self.versions: dict[str, int] = {}

    async def run(self) -> None:
        await asyncio.gather(*(self._lane() for _ in range(2)))

    async def _lane(self) -> None:
        loop, plan = asyncio.get_running_loop(), self.world.plan
        while loop.time() < plan.duration_s:
            await asyncio.sleep(self.rng.expovariate(1 / plan.ops_pause_s))
            if self.number >= plan.readers and self.rng.random() < 0.1:
                await self._perform_run()
            else:
                operation = self._make()
                await self._perform(operation, named=operation.is_write and self.rng.random() < 0.75)

    async def _perform_run(self) -> None:
        """Send creates or updates in one call, as a client does with what is asked of it at the same time."""
        run, rng = Run(asyncio.get_running_loop().create_future(), self.rng.randrange(2, 5)), self.rng
        joined = [Operation("create", None, self._body(), size=64) for _ in range(run.size)]
        if rng.random() < 0.75:
            ids = rng.sample(IDS, 2)
            plain = [self._write(rng.choice(("inc", "inc", "checked")), rng.choice(ids)) for _ in range(run.size)]
            joined = [replace(update, shaped=shaped_update(update.body)) for update in plain]
        await asyncio.gather(*(self._perform(operation, named=True, run=run) for operation in joined))

    async def _perform(self, operation: Operation, *, named: bool, run: "Run | None" = None) -> None:
        seq = self._number() if named else None
        session, born = self.session, self.born
        if operation.is_write and seq is None:
            self.made += 1
            operation = replace(operation, request=f"own-{self.number}-{self.made}")
        op = Op(len(self.world.ops), operation, asyncio.get_running_loop().time())
        self.world.ops.append(op)
        give_up_s = op.start_s + self.rng.uniform(0.5, 3.0)
        in_doubt = False
        while True:
            request: Request | None = op.operation.request
            if seq is not None:
                low = min(self.waiting) if session == self.session else 1
                request = SessionRequest(session, seq, min(low, seq), born)
            op.operation = replace(op.operation, request=request)
            verdict = await self._attempt(op, run)
            run = None
            if verdict == "lost":
                in_doubt = True
            elif verdict != "not now":
                # Decided. But an attempt still on its way may decide otherwise when it arrives.
                op.uncertain = op.message_under_way()
                op.result = "unknown" if verdict == "refused" and op.uncertain else verdict
                break
            elif not in_doubt and not op.maybe_applied() and self.rng.random() < 0.3:
                op.result = "refused"
                break
            now_s = asyncio.get_running_loop().time()
            if now_s > give_up_s:
                op.result = "unknown" if in_doubt or op.maybe_applied() else "refused"
                break
            await asyncio.sleep(self.rng.uniform(0.0, 0.05))
        op.end_s = asyncio.get_running_loop().time()
        if seq is not None and session == self.session:
            self.waiting.discard(seq)
        outcome = op.outcome
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

    async def _attempt(self, op: Op, run: "Run | None" = None) -> str:
        world, rng = self.world, self.rng
        if rng.random() < world.plan.wander:
            self.favourite = rng.randrange(len(world.hosts))
        host = world.hosts[self.favourite]
        timeout_s = rng.uniform(0.1, 1.2)
        age_s = asyncio.get_running_loop().time() - op.start_s if op.deliveries else 0.0
        operation = replace(op.operation, timeout_s=timeout_s * rng.choice([0.5, 2.0]), age_s=age_s)
        if run is None:
            task = asyncio.ensure_future(self._deliver(host, [operation]))
        else:
            host = run.host = run.host or host
            task = asyncio.ensure_future(run.join(self, host, operation))
        op.deliveries.append((host.process, task))
        if rng.random() < world.weather.duplicate:
            again = asyncio.ensure_future(self._deliver(host, [operation], rng.uniform(0, 2.0)))
            op.deliveries.append((host.process, again))
        try:
            async with asyncio.timeout(timeout_s):
                outcome = (await asyncio.shield(task))[0]
        except TimeoutError:
            if rng.random() < 0.5:
                self.favourite = rng.randrange(len(world.hosts))
            return "lost"
        if not (op.outcome is not None and outcome.error is not None and not isinstance(outcome.error, DECIDED)):
            op.outcome = outcome
        error = outcome.error
        if error is None:
            return "ok"
        if isinstance(error, DECIDED):
            return "refused"
        if isinstance(error, errors.CorruptionError | errors.InternalError):
            world.violate(f"op {op.number} ({op.operation.kind}) met {error!r}")
        if isinstance(error, errors.OutcomeUnknownError):
            return "lost"
        if isinstance(error, errors.FencedError | errors.RpcUnavailableError):
            await self._find_owner(host)
        return "not now"

    async def _find_owner(self, host: Host) -> None:
        hosts = self.world.hosts
        alive = [n for n, other in enumerate(hosts) if other.engine is not None and other.engine.state == "open"]
        if alive and self.rng.random() < 0.8:
            self.favourite = self.rng.choice(alive)
        else:
            activation = asyncio.ensure_future(host.activate())
            await asyncio.wait([activation], timeout=0.5)

    async def _deliver(self, host: Host, operations: list[Operation], delay_s: float = 0.0) -> list[Outcome]:
        rng, weather, loop = self.rng, self.world.weather, asyncio.get_running_loop()
        lost_request, lost_reply = rng.random() < weather.lost_request, rng.random() < weather.lost_reply
        there_s, back_s = rng.uniform(0.001, 0.01), rng.uniform(0.001, 0.01)
        sent_s = loop.time()
        await asyncio.sleep(delay_s + there_s)
        if lost_request:
            await asyncio.sleep(60)
            raise errors.NetworkError("lost")
        await host.process.gate()
        travelled_s = loop.time() - sent_s
        if travelled_s > _SLOW_MESSAGE_S:
            # Beyond what the protocol promises for callers' own ids: a message that is itself older than their window.
            operations = [replace(operation, age_s=operation.age_s + travelled_s) for operation in operations]
        reply = await host.execute(encode_operations(operations))
        if lost_reply:
            await loop.create_future()
        await asyncio.sleep(back_s)
        return [whole(*pair) for pair in zip(operations, decode_outcomes(reply)[0], strict=True)]

    def _make(self) -> Operation:
        rng = self.rng
        if self.number < self.world.plan.readers:
            return Operation("get", rng.choice(IDS))
        kind = rng.choices(
            (
                "create",
                "inc",
                "checked",
                "replace",
                "delete",
                "remove",
                "restore",
                "batch",
                "many",
                "get",
                "count",
                "find",
            ),
            (14, 22, 12, 4, 4, 3, 3, 7, 3, 18, 5, 5),
        )[0]
        id_ = rng.choice(IDS)
        if kind == "get":
            return Operation("get", id_)
        if kind in ("count", "find"):
            options: dict[str, Any] = {"filter": {"n": {"$gte": rng.randrange(6)}}} if rng.random() < 0.5 else {}
            return Operation(kind, options=options)
        if kind == "batch":
            parts = [
                self._write(rng.choice(("create", "inc", "inc", "checked", "remove")), rng.choice(IDS))
                for _ in range(3)
            ]
            return Operation("batch", body=[part.to_wire() for part in parts])
        if kind == "many":
            bodies = [{"$id": f"{NAMESPACE}/{rng.choice(IDS)}", **self._body()} for _ in range(3)]
            return Operation("create_many", body=bodies, options={"ordered": rng.random() < 0.5})
        return self._write(kind, id_)

    def _body(self) -> dict[str, Any]:
        return {"n": self.rng.randrange(8), "tag": self._tag()}

    def _tag(self) -> str:
        return f"{self.number}:{len(self.world.ops)}:{self.rng.randrange(10**6)}"

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
        return Operation(
            "update", id_, {"$inc": {"n": self.rng.randrange(1, 9)}, "$set": {"tag": self._tag()}}, options
        )
