"""Trouble with processes: killed, stopped, doubled, or of a version that has a bug."""

import asyncio
import itertools
import shutil
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from parquedb.errors import ParqueDBError
from tests.drills.site import ROOT
from tests.drills.stage import Stage
from tests.support.chaos.processes import descendants, kill
from tests.support.places import NAMESPACE, EngineCollection, engine_on, settings_of

OTHER_PACE_S: Final = 0.02
CALL_S: Final = 10.0
RESTARTS_MAX: Final = 3
CODE: Final = ("parquedb", "observability", "storage", "actors", "cluster")
HEALTHY: Final = "            await self._app(call.scope, call.receive, send)\n"
BUG: Final = f"""            if call.scope["method"] != "GET":
                raise LookupError("a bug of this version")
{HEALTHY}"""


async def split_brain(stage: Stage) -> None:
    """Stop the owner; another cluster takes over; wake it: from then on each takes the namespace from the other."""
    pid = await stage.owner_pid()
    kill(pid, signal.SIGSTOP)
    stage.later.callback(kill, pid, signal.SIGCONT)
    taken = asyncio.Event()
    stage.callers.begin_job("other-cluster", [_other_owner(stage, taken)])
    await taken.wait()
    kill(pid, signal.SIGCONT)
    stage.site.commands["stop_job"] = stage.callers.end_job


def _other_owner(stage: Stage, taken: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return what opens the namespace outside of the cluster and writes until it is fenced."""
    numbers = itertools.count()
    ledger = stage.callers.ledger

    async def own() -> None:
        async with engine_on(settings_of(stage.place.direct), f"other{next(numbers)}", namespace=NAMESPACE) as engine:
            try:
                await engine.open()
            except ParqueDBError:
                return  # The other one was quicker.
            posts = EngineCollection(engine)
            for number in range(20):
                if engine.state != "open":
                    return
                token = ledger.token()
                ops = {"$inc": {"n": 1}, "$set": {"token": token}}
                await ledger.write(token, ["n0"], posts.update("n0", ops, timeout_s=CALL_S))
                if number:
                    taken.set()
                await asyncio.sleep(OTHER_PACE_S)
            await engine.close()

    return own


async def lost_node(stage: Stage) -> None:
    """Kill a raylet and all its workers at one blow, of a node that has an owner."""
    nodes = stage.ground.nodes
    index = await _node_with_an_owner(stage)

    async def add_node(*_names: str) -> None:
        await nodes.replace(index)

    stage.site.commands["add_node"] = add_node
    raylet = nodes.raylets[index]
    for pid in [raylet, *descendants(raylet)]:
        kill(pid, signal.SIGKILL)


async def _node_with_an_owner(stage: Stage) -> int:
    """Return the index of a node that may be killed and has the owner, after as many restarts as it takes."""
    for _ in range(RESTARTS_MAX):
        pid = await stage.owner_pid()
        for index, raylet in enumerate(stage.ground.nodes.raylets):
            if pid in descendants(raylet):
                return index
        await stage.restart_owner()
    return 0  # The owner stays on the head, which is not to be killed: then a node goes that has none.


async def silent_owner(stage: Stage) -> None:
    """Stop the owner's process."""
    pid = await stage.owner_pid()
    stage.later.callback(kill, pid, signal.SIGCONT)

    async def kill_owner(_namespace: str) -> None:
        kill(pid, signal.SIGKILL)

    stage.site.commands["kill_owner"] = kill_owner
    kill(pid, signal.SIGSTOP)


async def owners_that_do_not_stay(stage: Stage) -> None:
    """Kill the owner whenever it is back, as a node without memory does."""

    async def starve() -> None:
        # Who dies before anybody has seen that it had opened is not counted.
        opened = f'parquedb_cold_starts_total{{namespace="{NAMESPACE}"}} > {next(deaths)}'
        await asyncio.to_thread(stage.prometheus.wait_for, opened, CALL_S)
        kill(await stage.owner_pid(), signal.SIGKILL)

    deaths = itertools.count()
    stage.callers.begin_job("memory-hog", [starve])
    stage.site.commands["stop_job"] = stage.callers.end_job


async def bad_deploy(stage: Stage) -> None:
    """Replace the gateway by one of a version that has a bug."""
    versions = {"previous": ROOT, "next": with_a_bug(stage.folder / "next")}

    async def deploy(version: str) -> None:
        await stage.gateway.end()
        await stage.gateway.start(versions[version])

    stage.site.commands["deploy"] = deploy
    await deploy("next")


def with_a_bug(folder: Path) -> Path:
    """Return a copy of the code in which each request that is to change something fails."""
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    edge = folder / "cluster" / "gateway" / "edge.py"
    assert edge.read_text().count(HEALTHY) == 1, "the place for the bug has moved"
    edge.write_text(edge.read_text().replace(HEALTHY, BUG))
    return folder


async def lost_gateway(stage: Stage) -> None:
    """Kill the gateway."""
    stage.site.commands["start_gateway"] = stage.gateway.start
    await stage.gateway.kill()
