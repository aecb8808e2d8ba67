"""Everything one drill needs: a store, a database on the shared cluster, its gateway, callers, and a Prometheus."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import parquedb
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.observability.prometheus.alerts import alerts_yaml
from tests.drills.callers import Callers
from tests.drills.gateway import Gateway
from tests.drills.site import Site
from tests.drills.watch import AlertWatch
from tests.support.chaos.nodes import Nodes
from tests.support.chaos.stores import DiskStore
from tests.support.fault_proxy import FaultProxy
from tests.support.places import NAMESPACE, on_s3
from tests.support.prometheus import Programs, Prometheus, running_prometheus
from tests.support.s3_servers import S3Server

FASTER = 60
"""How much faster than in production the rules run: five minutes are five seconds."""

SCRAPE = "500ms"
STORAGE = {"breaker_open_s": 30 / FASTER}
"""What is a pause in production is as much shorter; what callers wait for is not."""

READY_S, QUIET_S = 30.0, 45.0
PAUSE_S = 0.05


@dataclass
class Ground:
    """What all drills share: one Ray, one S3 server.

    Attributes:
        nodes: The Ray.
        server: The S3 server, which a drill may kill and start again.
        server_folder: Where its data are.
        programs: Prometheus.
    """

    nodes: Nodes
    server: S3Server
    server_folder: Path
    programs: Programs


@dataclass(frozen=True)
class Place:
    """Where a database is.

    Attributes:
        settings: Arguments of `connect` by which the gateway, and with it every owner, reaches it.
        direct: The same without the proxy in between.
        proxy: In front of the S3 server; None on a disk.
        disk: The small disk; None on S3.
    """

    settings: dict[str, Any]
    direct: dict[str, Any]
    proxy: FaultProxy | None = None
    disk: DiskStore | None = None


@dataclass
class Stage:
    """What a drill works with.

    Attributes:
        ground: What is shared.
        folder: Its own.
        place: Where its database is.
        gateway: What callers and Prometheus talk to.
        database: Behind it.
        callers: At work.
        site: Runs what the runbook says.
        watch: Of the alerts.
        later: Undone at the end of the drill.
    """

    ground: Ground
    folder: Path
    place: Place
    gateway: Gateway
    database: AsyncDatabase
    callers: Callers
    site: Site
    watch: AlertWatch
    prometheus: Prometheus
    later: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def posts(self) -> Any:
        """The namespace that the callers use."""
        return self.database[NAMESPACE]

    async def owner_pid(self) -> int:
        """Return the process of its owner."""
        pid: int = (await self.posts.stats())["pid"]
        return pid

    async def restart_owner(self) -> None:
        """Kill the owner's process, and return when another one answers."""
        pid = await self.owner_pid()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(READY_S):
            while await self.owner_pid() == pid:
                await asyncio.sleep(PAUSE_S)


def as_variables(settings: Mapping[str, Any], prefix: str = "PARQUEDB") -> dict[str, str]:
    """Return settings as the environment variables that say the same."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        variable = f"{prefix}_{name.upper()}"
        if isinstance(value, Mapping):
            inner = as_variables(value, "")
            found |= {f"{variable}_{key}": text for key, text in inner.items()}
        else:
            found[variable] = value if isinstance(value, str) else json.dumps(value)
    return found


@asynccontextmanager
async def set_up(
    ground: Ground, name: str, folder: Path, settings: Mapping[str, Any], *, on_disk: bool
) -> AsyncIterator[Stage]:
    """Set the stage, with callers at work and no alert, until the block ends."""
    folder.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        given = {
            "storage": {**STORAGE, **settings.get("storage", {})},
            "engine": settings.get("engine", {}),
            "ray_address": ground.nodes.address,
        }
        place = _on_a_disk(stack, folder, given) if on_disk else _on_s3(stack, ground, name, given)
        stack.push_async_callback(ground.nodes.ask, "dismiss", READY_S)
        gateway = Gateway(as_variables(place.settings), folder / "gateway.log")
        await gateway.start()
        stack.push_async_callback(gateway.end)
        database = await stack.enter_async_context(await parquedb.connect_async(gateway.url))
        callers = Callers(database[NAMESPACE])
        await callers.start()
        stack.push_async_callback(callers.stop)
        prometheus = await asyncio.to_thread(stack.enter_context, _prometheus(ground.programs, folder, gateway))
        watch = await stack.enter_async_context(AlertWatch(prometheus).watching())
        variables = as_variables(place.direct) | {"GATEWAY": gateway.url, "PROMETHEUS": prometheus.url}
        site = await stack.enter_async_context(Site(folder, variables))
        stage = Stage(ground, folder, place, gateway, database, callers, site, watch, prometheus)
        await stack.enter_async_context(stage.later)
        scraped = f'parquedb_operations_total{{namespace="{NAMESPACE}",side="actor"}} > 10'
        await asyncio.to_thread(prometheus.wait_for, scraped, READY_S)
        # The first calls are the slow ones.
        await watch.until(lambda: not watch.active, QUIET_S)
        watch.forget()
        yield stage


def _on_a_disk(stack: AsyncExitStack, folder: Path, given: dict[str, Any]) -> Place:
    disk = DiskStore(folder)
    stack.callback(disk.close, keep=False)
    settings = {**given, "url": disk.settings["url"]}
    return Place(settings, settings, disk=disk)


def _on_s3(stack: AsyncExitStack, ground: Ground, name: str, given: dict[str, Any]) -> Place:
    proxy = FaultProxy(ground.server.endpoint_url).start()
    stack.callback(proxy.stop)
    through = on_s3(ground.server, name, endpoint_url=proxy.url, **given)
    return Place(through, on_s3(ground.server, name, **given), proxy=proxy)


def _prometheus(programs: Programs, folder: Path, gateway: Gateway) -> Any:
    (folder / "prometheus").mkdir()
    rules = folder / "alerts.yml"
    rules.write_text(alerts_yaml(FASTER))
    targets = {"parquedb": f"127.0.0.1:{gateway.port}"}
    return running_prometheus(programs, folder / "prometheus", targets, rules, SCRAPE)
