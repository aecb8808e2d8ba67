"""One slice of chaos: a store, a Ray, clients; faults by schedule; quiet; a verdict. One process, which tidies up.

    python -m tests.support.chaos.slice '{"seed": 1, "place": "s3", "seconds": 40, "lost_percent": 2}'

Prints a line per fault and a summary; the exit code is 1 when a promise was broken. The last line is the summary as
JSON. A slice on a disk has to run below `stores.UNSHARE`.
"""

import asyncio
import json
import logging
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parquedb.storage.log.entry import Kind
from tests.support.chain import Bystander
from tests.support.chaos.clients import Clients
from tests.support.chaos.faults import Faults, Skipped
from tests.support.chaos.judge import judge
from tests.support.chaos.nodes import Nodes
from tests.support.chaos.processes import adopt_orphans, kill_descendants
from tests.support.chaos.ray_cluster import HEALTH_CHECKS, lose_calls
from tests.support.chaos.records import Recorder, load
from tests.support.chaos.schedule import NAMESPACES, S3, Event, schedule
from tests.support.chaos.stores import DiskStore, S3Store
from tests.support.chaos.summary import Summary, Task
from tests.support.places import settings_of

START_S, RECOVERY_S = 120.0, 60.0
WARM_UP_ACKNOWLEDGED, RECOVERED_ACKNOWLEDGED = 50, 20


class Slice:
    """A slice while it runs.

    Args:
        folder: Empty; everything but Ray's own files lies below it.

    Attributes:
        summary: What it has come to so far.
        remarkable: Whether somebody should look at what it has left: a promise was broken, or the slice itself was.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self._task = task
        self._folder = folder
        self._begun_s = 0.0
        self.remarkable = False
        self.summary = Summary(task.seed, task.place, task.lost_percent)

    async def run(self) -> None:
        """Run it to the end; what was found is in `summary`."""
        store = S3Store(self._folder, self._task.seed) if self._task.place == S3 else DiskStore(self._folder)
        self.remarkable = True
        try:
            async with AsyncExitStack() as running:
                bystanders = {name: Bystander(settings_of(store.direct), name) for name in NAMESPACES}
                for bystander in bystanders.values():
                    running.push_async_callback(bystander.close)
                    await running.enter_async_context(bystander.watching())
                files = await self._disturb(store)
                records = list(load(files))
                for name, bystander in bystanders.items():
                    await self._judge(name, records, bystander)
            if isinstance(store, S3Store):
                self.summary.requests_struck = sum(seen.action is not None for seen in store.proxy.seen)
            self.remarkable = bool(self.summary.violations)
        finally:
            store.close(keep=self.remarkable)

    async def _disturb(self, store: Any) -> list[Path]:
        """Run the load, the faults and the quiet afterwards; return the records."""
        environment = HEALTH_CHECKS | lose_calls(self._task.lost_percent) | {"RAY_worker_niceness": "0"}
        rivals = self._folder / "rivals"
        nodes = Nodes(self._folder / "ray.log", store.settings, environment)
        clients = Clients(self._folder, store.settings, environment)
        recorder = Recorder(rivals)
        try:
            await nodes.start()
            await clients.start(nodes.address)
            await clients.acknowledged(WARM_UP_ACKNOWLEDGED, START_S)
            await self._strike_all(Faults(store, nodes, clients, recorder))
            ended_s = time.monotonic()
            try:
                await clients.acknowledged(RECOVERED_ACKNOWLEDGED, RECOVERY_S)
            except TimeoutError:
                self.summary.violations.append(f"no progress {RECOVERY_S:g} s after the last fault")
            self.summary.recovery_s = time.monotonic() - ended_s
            await clients.stop()
            self.summary.seconds = time.monotonic() - self._begun_s
            dump = await clients.dump()
        finally:
            recorder.close()
            await nodes.kill()
            self.summary.calls_lost = nodes.calls_lost
        return [*clients.records(), rivals, dump]

    async def _strike_all(self, faults: Faults) -> None:
        self._begun_s = time.monotonic()
        events = schedule(self._task.seed, self._task.place, self._task.seconds)
        await asyncio.gather(*(self._strike(faults, event) for event in events))

    async def _strike(self, faults: Faults, event: Event) -> None:
        await asyncio.sleep(self._begun_s + event.at_s - time.monotonic())
        try:
            words = await faults.do(event)
        except Skipped as skipped:
            self.summary.skipped += 1
            words = f"skipped: {skipped}"
        else:
            self.summary.faults[event.fault] = self.summary.faults.get(event.fault, 0) + 1
        print(f"  {event.at_s:6.2f} s  {event}" + (f": {words}" if words else ""), flush=True)

    async def _judge(self, namespace: str, records: list[Any], bystander: Bystander) -> None:
        try:
            history = await bystander.history()
        except AssertionError as error:
            self.summary.violations.append(f"{namespace}: {error}")
            return
        self.summary.checkpoints += history.count(Kind.CHECKPOINT)
        self.summary.add(judge(namespace, records, history))


def run(task: Task) -> Summary:
    """Run a slice in this process, which should do nothing else."""
    adopt_orphans()
    for name in ("parquedb", "aiohttp.server"):
        # Owners that are fenced, clients that vanish: here that is what shall happen.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="pqchaos"))
    one = Slice(task, folder)
    try:
        asyncio.run(one.run())
    finally:
        kill_descendants()
        if one.remarkable:
            print(f"  everything that was recorded lies in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return one.summary


if __name__ == "__main__":
    summary = run(Task(**json.loads(sys.argv[1])))
    print(summary)
    print(json.dumps(asdict(summary)), flush=True)
    sys.exit(bool(summary.violations))
