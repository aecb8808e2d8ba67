"""A simulated cluster: rival owners of one namespace over one lossy store, and everybody who calls them.

Everything random comes from the seed, everything timed from the virtual loop: the same seed gives the same trace.
"""

import asyncio
import hashlib
import random
from typing import Any

from parquedb import errors
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import EngineSettings, StorageSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.keys import namespace_prefix
from tests.support.sim_calls import Op
from tests.support.sim_clients import Client
from tests.support.sim_hosts import Host
from tests.support.sim_loaders import Loader
from tests.support.sim_plans import NAMESPACE, Plan, draw_settings, draw_weather
from tests.support.sim_readers import Follower, Hold, Holder, Pager
from tests.support.sim_store import CLEAR, SimConnection, SimStore, altered
from tests.support.virtual_loop import Process, SimClock

_CHAOS = {"activate": 6, "crash": 2, "pause": 4, "close": 1, "flush": 3, "collect": 2, "compact": 1}
_SPOILED_MAX = 2
_LOSABLE = ("manifest/", "data/", "tail/", "history/", "dedupe/")
"""What the store may lose. One that loses log entries has forgotten who owns what: nothing can be promised there."""


class World:
    """One run."""

    def __init__(self, seed: int, plan: Plan, *, settings: EngineSettings | None = None) -> None:
        self.seed = seed
        self.plan = plan
        self.rng = self.rng_for("world")
        self.violations: list[str] = []
        self.ops: list[Op] = []
        self.holds: list[Hold] = []
        self.corruptions = 0
        self._rivals: list[asyncio.Task[None]] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._trace: list[str] | None = None
        self.store = SimStore(self.note)
        self.weather = draw_weather(self.rng_for("weather"), plan)
        self.settings = settings or draw_settings(self.rng, plan)
        self.layered = self.rng.random() < 0.4
        self.hosts = [Host(self, number) for number in range(plan.hosts)]
        self.followers = [Follower(self, number) for number in range(plan.followers)]
        self.clients: list[Client] = [
            *(Client(self, number) for number in range(plan.clients)),
            *(Loader(self, number) for number in range(plan.loaders)),
            *(Holder(self, number) for number in range(plan.holders)),
            *(Pager(self, number) for number in range(plan.pagers)),
            *self.followers,
        ]

    def rng_for(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def connect(self, process: Process, clock: SimClock, name: str) -> StorageBackend:
        connection = SimConnection(self.store, process, self.rng_for(f"net{name}"), self.weather)
        if not self.layered:
            return connection
        storage = StorageSettings(
            timeout_s=1.0, retry_base_s=0.01, retry_max_s=0.1, breaker_failures=3, breaker_open_s=0.3
        )
        return wrap_backend(connection, storage, clock=clock, hooks=HookRegistry(), rng=self.rng_for(f"layers{name}"))

    # -- what is known of the run

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

    def corrupt(self, error: errors.CorruptionError, who: str) -> None:
        """Note that somebody was told of corruption: it has to name an object that the network or store damaged."""
        if error.key in self.store.damaged:
            self.corruptions += 1
            self.note("corruption", who, error.key)
        else:
            self.violate(f"{who} met {error!r}")

    # -- what happens

    async def run(self) -> None:
        """Let it all happen, then calm down until every late packet has arrived."""
        self.watch()
        chaos = [asyncio.ensure_future(self._chaos())]
        if self.plan.spoils:
            chaos.append(asyncio.ensure_future(self._spoil()))
        await asyncio.gather(*(client.run() for client in self.clients))
        for task in chaos:
            task.cancel()
        await self.calm()

    def watch(self) -> None:
        """Let the death of a background task be a violation."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)

    async def calm(self) -> None:
        """End all processes and wait until every late packet has arrived."""
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
        weights = {**_CHAOS, "crash": 1, "close": 3} if plan.handed else _CHAOS
        while True:
            await asyncio.sleep(rng.uniform(0.05, plan.takeover_s / 2))
            host = rng.choice(self.hosts)
            what = rng.choices(list(weights), list(weights.values()))[0]
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
            elif not host.is_open:
                continue
            elif what == "close" and plan.handed:
                work = self._hand_over(host)
            else:
                work = getattr(host.engine, what)()
            running.add(asyncio.ensure_future(calmly(work)))

    async def _hand_over(self, host: Host) -> None:
        """Let an owner close, and another one open in its place."""
        successor = self.rng.choice([other for other in self.hosts if other is not host])
        if host.engine is not None:
            await host.engine.close()
        await successor.activate()

    def _hunt(self, otherwise: Host) -> Host:
        """Choose the owner to be paused, and let another host open in its place."""
        owners = [host for host in self.hosts if host.is_open]
        if not owners:
            return otherwise
        victim = self.rng.choice(owners)
        rival = self.rng.choice([host for host in self.hosts if host is not victim])
        rival.process.paused_until_s = 0.0
        self._rivals.append(asyncio.ensure_future(calmly(rival.activate())))
        return victim

    async def _spoil(self) -> None:
        """Let the store alter or lose objects, and find them again."""
        rng, store, prefix = self.rng_for("spoil"), self.store, namespace_prefix(NAMESPACE)
        while True:
            await asyncio.sleep(rng.uniform(0.2, 1.5))
            if len(store.spoiled) >= _SPOILED_MAX or rng.random() < 0.3:
                store.heal()
            elif store.keys:
                key = rng.choice(store.keys)
                data, _ = store.objects[key]
                how = rng.choice(("alter", "cut", "lose"))
                if how == "lose" and key.removeprefix(prefix).startswith(_LOSABLE):
                    store.spoil(key, None)
                elif data:
                    at = rng.randrange(len(data))
                    store.spoil(key, data[:at] if how == "cut" else altered(data, at))

    async def final_owner(self) -> Host:
        """Open once more in clear weather, with everything back that the store had lost."""
        self.weather = CLEAR
        self.store.heal()
        host = Host(self, len(self.hosts))
        for _ in range(20):
            await host.activate()
            if host.is_open:
                return host
        self.violate("nobody can open the namespace in clear weather")
        return host


async def calmly(work: Any) -> None:
    """Do something that may fail."""
    try:
        await work
    except errors.ParqueDBError:
        return
