"""Doing what a schedule says to a running slice. Each fault returns a few words about whom it struck."""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.errors import OutcomeUnknownError, ParqueDBError
from tests.support.chaos.clients import Clients
from tests.support.chaos.nodes import Nodes
from tests.support.chaos.processes import descendants, kill
from tests.support.chaos.records import Answer, Recorder, Write, now_s
from tests.support.chaos.schedule import NAMESPACES, Event
from tests.support.chaos.stores import DiskStore, S3Store
from tests.support.places import EngineCollection, engine_on, settings_of
from tests.support.workloads import State

QUESTION_S, OWNER_S = 6.0, 8.0
RIVAL_OPENS_S, RIVAL_STAYS_S = 15.0, 10.0
RIVAL_PAUSE_S = 0.01
LOST_SHARE = 0.4
"""Of the requests, while requests or replies get lost."""


class Skipped(Exception):  # noqa: N818 - not an error: the fault found nobody to strike
    """A fault could not be done."""


class Faults:
    """Everything that can be done to a slice.

    Args:
        store: `S3Store` or `DiskStore`.
        recorder: Where the rivals' writes go.
    """

    def __init__(self, store: Any, nodes: Nodes, clients: Clients, recorder: Recorder) -> None:
        self._store: Any = store
        self._nodes = nodes
        self._clients = clients
        self._recorder = recorder
        # One node is down at a time, one owner of a namespace frozen, one thing wrong with the server's process.
        self._node, self._server, self._disk = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._frozen = {namespace: asyncio.Lock() for namespace in NAMESPACES}
        self._rivals = itertools.count()

    async def do(self, event: Event) -> str:
        """Do it, and return when it is over.

        Raises:
            Skipped: it found nobody to strike.
        """
        fault: Callable[[Event], Awaitable[str]] = getattr(self, f"_{event.fault}")
        try:
            return await fault(event)
        except (TimeoutError, ConnectionError, RuntimeError) as error:
            raise Skipped(f"Ray was not able to: {type(error).__name__}: {error}") from error

    # -- processes

    async def _owner(self, namespace: str) -> int:
        """Return the process that owns a namespace; after a kill it takes Ray a while until there is one again."""
        end_s = time.monotonic() + OWNER_S
        while time.monotonic() < end_s:
            pid = (await self._nodes.owners(QUESTION_S)).get(namespace)
            if pid is not None:
                return pid
        raise Skipped(f"the owner of {namespace} did not answer")

    async def _owner_killed(self, event: Event) -> str:
        pid = await self._owner(event.namespace)
        if not kill(pid, signal.SIGKILL):
            raise Skipped(f"process {pid} is gone already")
        return f"{event.namespace}, process {pid}"

    async def _node_killed(self, event: Event) -> str:
        """Kill a raylet and all its workers at one blow."""
        async with self._node:
            index, owned = await self._node_of(event)
            raylet = self._nodes.raylets[index]
            pids = [raylet, *descendants(raylet)]
            for pid in pids:
                kill(pid, signal.SIGKILL)
            await self._nodes.replace(index)
            return f"node {index}, {len(pids)} processes, owners of {' '.join(owned) or 'nothing'}"

    async def _raylet_killed(self, event: Event) -> str:
        """Kill a raylet alone; its workers notice."""
        async with self._node:
            index, owned = await self._node_of(event)
            kill(self._nodes.raylets[index], signal.SIGKILL)
            await self._nodes.replace(index)
            return f"node {index}, owners of {' '.join(owned) or 'nothing'}"

    async def _node_of(self, event: Event) -> tuple[int, list[str]]:
        """Return the node that most owners are on, the one by choice among equals; and what they own."""
        pids = await self._nodes.owners(QUESTION_S)
        owned = []
        for raylet in self._nodes.raylets:
            below = set(descendants(raylet))
            owned.append([namespace for namespace, pid in pids.items() if pid in below])
        count = len(owned)
        index = max(range(count), key=lambda index: (len(owned[index]), (index + event.choice) % count))
        return index, owned[index]

    async def _ray_killed(self, event: Event) -> str:
        """Kill all of Ray, the head too, and all clients; another Ray opens what they have left."""
        async with self._node, self._clients.away() as join:
            started_s = time.monotonic()
            await self._nodes.kill()
            await self._nodes.start()
            join(self._nodes.address)
            return f"another one after {time.monotonic() - started_s:.1f} s"

    async def _client_killed(self, event: Event) -> str:
        return await self._clients.restart(event.choice)

    async def _owner_frozen(self, event: Event) -> str:
        """Stop an owner in its tracks, let a rival take over and write, wake the owner, let clients come back to it."""
        async with self._frozen[event.namespace]:
            pid = await self._owner(event.namespace)
            if not kill(pid, signal.SIGSTOP):
                raise Skipped(f"process {pid} is gone already")
            name = f"rival{next(self._rivals)}"
            try:
                async with self._rival(event.namespace, name) as rival:
                    await asyncio.sleep(event.lasts_s)
                    kill(pid, signal.SIGCONT)
                    # Fenced as soon as a client has sent its owner back to work.
                    await asyncio.wait({rival.writing}, timeout=RIVAL_STAYS_S)
                    await rival.stop()
            finally:
                kill(pid, signal.SIGCONT)
            return f"{event.namespace}, process {pid}; {name} acknowledged {rival.acknowledged}, then was {rival.end}"

    @asynccontextmanager
    async def _rival(self, namespace: str, name: str) -> AsyncIterator["Rival"]:
        async with engine_on(settings_of(self._store.settings), name, namespace=namespace) as engine:
            try:
                async with asyncio.timeout(RIVAL_OPENS_S):
                    await engine.open()
            except (ParqueDBError, TimeoutError) as error:
                raise Skipped(f"{name} could not open {namespace}: {type(error).__name__}") from error
            yield Rival(engine, namespace, name, self._recorder)

    # -- the store

    async def _server_killed(self, event: Event) -> str:
        async with self._server:
            started_s = time.monotonic()
            await self._store.kill_server(event.lasts_s)
            return f"back after {time.monotonic() - started_s:.1f} s"

    async def _server_frozen(self, event: Event) -> str:
        async with self._server:
            with self._store.frozen():
                await asyncio.sleep(event.lasts_s)
            return ""

    async def _network_slow(self, event: Event) -> str:
        return await self._rule(event, "latency", delay_s=0.1, jitter_s=1.0)

    async def _network_black_hole(self, event: Event) -> str:
        return await self._rule(event, "hang_before")

    async def _requests_lost(self, event: Event) -> str:
        return await self._rule(event, "drop_before", probability=LOST_SHARE)

    async def _replies_lost(self, event: Event) -> str:
        return await self._rule(event, "drop_after", probability=LOST_SHARE)

    async def _requests_late(self, event: Event) -> str:
        """Answer with a reset, and apply the request some time later."""
        late_s = random.Random(event.choice).uniform(0.05, 3.0)
        return await self._rule(event, "zombie", method="PUT", path="/log/", probability=LOST_SHARE, delay_s=late_s)

    async def _server_errors(self, event: Event) -> str:
        action = random.Random(event.choice).choice(("status", "status_after"))
        return await self._rule(event, action, probability=LOST_SHARE)

    async def _rule(self, event: Event, action: str, **settings: Any) -> str:
        with self._misbehaving(action, **settings) as rule:
            await asyncio.sleep(event.lasts_s)
        return f"{action}, {rule.fired} requests"

    @contextmanager
    def _misbehaving(self, action: str, **settings: Any) -> Any:
        store: S3Store = self._store
        rule = store.proxy.add(action, **settings)
        try:
            yield rule
        finally:
            store.proxy.remove(rule)

    async def _disk_full(self, event: Event) -> str:
        store: DiskStore = self._store
        async with self._disk:
            with store.full():
                await asyncio.sleep(event.lasts_s)
        return ""


class Rival:
    """An owner outside of Ray, which writes until it is fenced.

    Attributes:
        writing: Ends when it is fenced, or after `stop`.
        acknowledged: How many of its writes were.
        end: What became of it.
    """

    def __init__(self, engine: NamespaceEngine, namespace: str, name: str, recorder: Recorder) -> None:
        self._engine = engine
        self._posts = EngineCollection(engine, namespace)
        self._namespace = namespace
        self._name = name
        self._recorder = recorder
        self._stop = False
        self.acknowledged = 0
        self.writing = asyncio.create_task(self._write())

    @property
    def end(self) -> str:
        """What became of it."""
        return "fenced" if self._engine.state == "fenced" else "closed"

    async def stop(self) -> None:
        """Let it finish its write and, if it still is the owner, say farewell."""
        self._stop = True
        await self.writing
        await self._engine.close()

    async def _write(self) -> None:
        for number in itertools.count():
            if self._stop or self._engine.state != "open":
                return
            token = f"{self._name}-{number}"
            self._recorder.note(Write(self._namespace, token, "add", ["n0"], now_s(), amount=1))
            answer = Answer(self._namespace, token, 0.0, State.REFUSED.value)
            try:
                ops = {"$inc": {"n": 1}, "$set": {"token": token}}
                document = await self._posts.update("n0", ops, timeout_s=RIVAL_STAYS_S)
            except ParqueDBError as error:
                answer.error = type(error).__name__
                if isinstance(error, OutcomeUnknownError):
                    answer.state = State.UNKNOWN.value
            else:
                answer.state, answer.changed = State.ACKNOWLEDGED.value, [("n0", document["version"])]
                self.acknowledged += 1
            answer.at_s = now_s()
            self._recorder.note(answer)
            await asyncio.sleep(RIVAL_PAUSE_S)
