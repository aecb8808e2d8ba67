"""The head of a cluster dies in three ways while clients write and read; then quiet, and a verdict.

    python -m tests.support.heads.drill '{"seed": 1}'

    gcs      the server that knows the cluster is killed; the rest of the head ends a second later
    head     the whole head is killed at one blow, and an owner at the same moment
    redis    the server that keeps the head's state is away for `REDIS_AWAY_S`; the head ends by itself

The last line it prints is what was found, as JSON. Everything it started ends with it.
"""

import asyncio
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.chain import Bystander
from tests.support.chaos.clients import Clients
from tests.support.chaos.judge import judge
from tests.support.chaos.processes import Child, adopt_orphans, kill_descendants
from tests.support.chaos.ray_cluster import HEALTH_CHECKS
from tests.support.chaos.records import attempts_of, load
from tests.support.chaos.schedule import NAMESPACES
from tests.support.heads.cluster import NODE_IPS, OWNERS, HeadCluster
from tests.support.heads.redis_server import server_program
from tests.support.places import settings_of
from tests.support.workloads import State

AWAY_S = (7.0, 9.0)
"""Shortest and longest time without a head."""

REDIS_AWAY_S = 20.0
IMPATIENT_S, PATIENT_S, MEANWHILE_S = 2.0, 90.0, 20.0
START_S, RECOVERY_S, ANSWER_S = 120.0, 60.0, 100.0
WARM_UP_ACKNOWLEDGED, MEANWHILE_ACKNOWLEDGED, RECOVERED_ACKNOWLEDGED = 50, 20, 20
STRUCK = NAMESPACES[1]
"""Whose owner is killed while there is no head to restart it."""


@dataclass
class Phase:
    """One way for a head to die, and what was seen of it.

    Attributes:
        began_s: Monotonic seconds.
        away_s: Without a head.
        recovered_s: From the head's return until every namespace acknowledges again and a new one can be had.
        stalls_s: By namespace, longest time between two acknowledgements.
        impatient: What a new namespace came to for who waits `IMPATIENT_S`, without a head.
        patient: The same for who waits `PATIENT_S`.
        health: Of the database, asked without a head.
    """

    name: str
    began_s: float = 0.0
    away_s: float = 0.0
    recovered_s: float = 0.0
    stalls_s: dict[str, float] = field(default_factory=dict)
    impatient: dict[str, Any] = field(default_factory=dict)
    patient: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)


@dataclass
class Findings:
    """What a drill came to.

    Attributes:
        owners: By namespace, `open` entries that its log has.
        moved: Namespaces whose name led to another process at the end than at the beginning.
        violations: Promises that were broken.
    """

    seed: int
    phases: list[Phase] = field(default_factory=list)
    acknowledged: int = 0
    reads: int = 0
    owners: dict[str, int] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)
    by_error: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


class Drill:
    """A drill while it runs; see the module."""

    def __init__(self, seed: int, folder: Path, program: str) -> None:
        self._rng = random.Random(seed)
        self._folder = folder
        self._settings = {"url": str(folder / "db"), "owner_labels": OWNERS}
        self._cluster = HeadCluster(folder, program, environment=HEALTH_CHECKS)
        self._clients = Clients(folder, self._settings, self._environment, NODE_IPS[0])
        self._newcomer: Child | None = None
        self.findings = Findings(seed)

    @property
    def _environment(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(self._folder)}

    async def run(self) -> None:
        """Run it to the end."""
        async with AsyncExitStack() as running:
            bystanders = {name: Bystander(settings_of(self._settings), name) for name in NAMESPACES}
            for bystander in bystanders.values():
                running.push_async_callback(bystander.close)
                await running.enter_async_context(bystander.watching())
            files = await self._disturb()
            records = list(load(files))
            self._measure_stalls(records)
            for name, bystander in bystanders.items():
                found = judge(name, records, await bystander.history())
                self.findings.acknowledged += found.verdict.acknowledged
                self.findings.reads += found.reads
                self.findings.owners[name] = found.hand_overs + 1
                self.findings.violations += found.violations
                for error, count in found.verdict.by_error.items():
                    self.findings.by_error[error] = self.findings.by_error.get(error, 0) + count

    async def _disturb(self) -> list[Path]:
        try:
            await asyncio.to_thread(self._cluster.start)
            self._newcomer = await self._start_newcomer()
            await self._clients.start(self._cluster.address)
            await self._clients.acknowledged(WARM_UP_ACKNOWLEDGED, START_S)
            before = await self._owners()
            for phase in (self._gcs_killed, self._head_killed, self._redis_away):
                await phase()
            after = await self._owners()
            self.findings.moved = [name for name in NAMESPACES if before[name] != after[name]]
            await self._clients.stop()
            return [*self._clients.records(), await self._clients.dump()]
        finally:
            if self._newcomer is not None:
                await self._newcomer.end()
            await asyncio.to_thread(self._cluster.close)

    async def _start_newcomer(self) -> Child:
        ready = asyncio.Event()
        settings = {**self._settings, "ray_address": self._cluster.address}
        child = await Child.start(
            "tests.support.heads.newcomer",
            {"node_ip": NODE_IPS[0], "settings": settings},
            self._folder / "newcomer.log",
            environment=self._environment,
            on_event=lambda _event: ready.set(),
        )
        async with asyncio.timeout(START_S):
            await ready.wait()
        return child

    # -- phases

    async def _gcs_killed(self) -> None:
        phase = self._begin("gcs")
        await asyncio.to_thread(self._cluster.kill_gcs)
        await self._without_head(phase, NAMESPACES)

    async def _head_killed(self) -> None:
        pid = (await self._owners())[STRUCK]
        phase = self._begin("head")
        await asyncio.to_thread(self._cluster.kill_head)
        os.kill(pid, signal.SIGKILL)
        await self._without_head(phase, [name for name in NAMESPACES if name != STRUCK])

    async def _redis_away(self) -> None:
        phase = self._begin("redis")
        self._cluster.redis.kill()
        await self._clients.acknowledged(MEANWHILE_ACKNOWLEDGED, REDIS_AWAY_S)
        await asyncio.sleep(max(0.0, phase.began_s + REDIS_AWAY_S - time.monotonic()))
        if self._cluster.head_has_ended():
            await asyncio.to_thread(self._cluster.head_gone)
        await asyncio.to_thread(self._cluster.redis.start)
        await self._recover(phase, self._ask_create("new-redis", PATIENT_S))

    async def _without_head(self, phase: Phase, going_on: Iterable[str]) -> None:
        """Wait out the time without a head, in which these namespaces have to go on."""
        patient = self._ask_create(f"patient-{phase.name}", PATIENT_S)
        impatient = self._ask_create(f"impatient-{phase.name}", IMPATIENT_S)
        assert self._newcomer is not None
        health = asyncio.create_task(self._newcomer.ask("health", ANSWER_S))
        await self._clients.acknowledged(MEANWHILE_ACKNOWLEDGED, MEANWHILE_S, going_on)
        phase.health = await health
        phase.impatient = await impatient
        await asyncio.sleep(max(0.0, phase.began_s + self._rng.uniform(*AWAY_S) - time.monotonic()))
        await self._recover(phase, patient)

    async def _recover(self, phase: Phase, newcomer: "asyncio.Task[dict[str, Any]]") -> None:
        """Bring the head back if it is away, and wait until everything works again."""
        if self._cluster.head_has_ended():
            await asyncio.to_thread(self._cluster.start_head)
        phase.away_s = time.monotonic() - phase.began_s
        await self._clients.acknowledged(RECOVERED_ACKNOWLEDGED, RECOVERY_S)
        phase.patient = await newcomer
        phase.recovered_s = time.monotonic() - phase.began_s - phase.away_s

    def _begin(self, name: str) -> Phase:
        phase = Phase(name, time.monotonic())
        self.findings.phases.append(phase)
        return phase

    def _ask_create(self, namespace: str, patience_s: float) -> "asyncio.Task[dict[str, Any]]":
        assert self._newcomer is not None
        return asyncio.create_task(
            self._newcomer.ask("create", ANSWER_S, namespace=namespace, patience_s=patience_s), name=namespace
        )

    async def _owners(self) -> dict[str, int]:
        assert self._newcomer is not None
        return {name: (await self._newcomer.ask("owner", ANSWER_S, namespace=name))["pid"] for name in NAMESPACES}

    def _measure_stalls(self, records: list[Any]) -> None:
        ends = [phase.began_s for phase in self.findings.phases[1:]] + [float("inf")]
        for name, attempts in attempts_of(records).items():
            times = sorted(each.done_s for each in attempts if each.state is State.ACKNOWLEDGED)
            for phase, end_s in zip(self.findings.phases, ends, strict=True):
                gaps = (later - earlier for earlier, later in pairwise(times) if phase.began_s < later <= end_s)
                phase.stalls_s[name] = max(gaps, default=0.0)


def run(seed: int, program: str) -> Findings:
    """Run a drill in this process, which should do nothing else."""
    adopt_orphans()
    logging.getLogger("parquedb").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="pqh"))
    drill = Drill(seed, folder, program)
    try:
        asyncio.run(drill.run())
    except BaseException:
        print(f"everything that was recorded lies in {folder}")
        raise
    finally:
        kill_descendants()
    shutil.rmtree(folder, ignore_errors=True)
    return drill.findings


if __name__ == "__main__":
    found = server_program()
    assert found is not None, "no server that speaks Redis"
    print(json.dumps(asdict(run(json.loads(sys.argv[1])["seed"], found))), flush=True)
