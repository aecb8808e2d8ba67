"""Ten times the load that an owner can take, offered by the clock; and what health says meanwhile, and how soon."""

import threading
import time
from typing import Any

import ray

import parquedb
from benchmarks.bench import Bench, end_actors
from benchmarks.load import RAMP_S, Offered, RemoteCaller, resident_bytes
from benchmarks.noop import start_noop
from benchmarks.table import Row, percentile, quantity
from benchmarks.throughput import document
from tests.support.fault_proxy import FaultProxy

NAME = "overload"
NAMESPACE = "events"
CALLERS = 2
"""Processes that offer the load."""

CLOSED_CALLERS = (64, 512)
"""Coroutines of each process; the better rate of the two is the peak."""

PUT_S = 0.2
GROUP_OPS = {"client": 256, "bare handle": 64}
"""Writes in one commit. The client's creates leave in runs of up to 256, which are never divided."""

QUEUE = {"queue_ops_max": 2000, "queue_age_max_s": 1.0}
MULTIPLES = (1.0, 2.0, 10.0)
BAR = (">=", 0.9)
HEALTH_BAR = ("<=", 3.0)
NOTE = (
    "Durable creates of {processes} processes, beside the best rate when coroutines ({callers} a process) await "
    "their answers before the next call; the load is offered by schedule, whatever becomes of earlier calls, and "
    "counted when it is acknowledged while it is offered, after a ramp. S3 (SeaweedFS) with {put:g} s added to each "
    "log PUT, so that the store is the limit: ten times what its processors can do cannot be offered on a small "
    "machine. Queues of at most {queue} operations and {age:g} s. Growth is that of private memory, the owner's and "
    "the largest caller's."
)
NOTE_HEALTH = (
    "Median answer of the owner's `health` called by a third process, beside a call of an idle no-op actor, by turns."
)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    rows = []
    with FaultProxy(bench.weed().endpoint_url) as proxy:
        proxy.add("latency", method="PUT", path="/log/", delay_s=PUT_S)
        rows += _through(bench, proxy, bare=False)
        rows += _through(bench, proxy, bare=True)
        rows.append(_health_while_a_commit_hangs(bench, proxy))
    rows.append(_health_under_full_load(bench))
    return rows


class Health:
    """Asks an owner how it is, by turns with an actor that does nothing, in a thread of its own.

    Attributes:
        health_s, noop_s: How long the answers took.
        statuses: What the owner said.
    """

    def __init__(self, owner: Any, noop: Any) -> None:
        self._owner = owner
        self._noop = noop
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="health")
        self.health_s: list[float] = []
        self.noop_s: list[float] = []
        self.statuses: set[str] = set()

    def _ask(self) -> None:
        while not self._stop.wait(0.02):
            started_s = time.perf_counter()
            self.statuses.add(ray.get(self._owner.health.remote())["status"])
            answered_s = time.perf_counter()
            ray.get(self._noop.f.remote())
            self.health_s.append(answered_s - started_s)
            self.noop_s.append(time.perf_counter() - answered_s)

    def __enter__(self) -> "Health":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def row(self, what: str, *, bar: tuple[str, float] | None) -> Row:
        """What was measured, as a row."""
        mine, theirs = percentile(self.health_s, 0.5), percentile(self.noop_s, 0.5)
        p99 = f"p99 {quantity(percentile(self.health_s, 0.99) * 1e3)} ms"
        peer = f"{quantity(theirs * 1e3)} ms (no-op, p99 {quantity(percentile(self.noop_s, 0.99) * 1e3)} ms)"
        note = NOTE_HEALTH.format(processes=CALLERS, callers=CLOSED_CALLERS[-1])
        return Row(what, f"{quantity(mine * 1e3)} ms, {p99}", peer, mine / theirs, bar, note=note)


def _through(bench: Bench, proxy: FaultProxy, *, bare: bool) -> list[Row]:
    way = "bare handle" if bare else "client"
    place = bench.place("s3", endpoint_url=proxy.url) | {
        "engine": {"group_ops_max": GROUP_OPS[way], **QUEUE},
        "client": {**QUEUE, "pending_calls_max": QUEUE["queue_ops_max"] // CALLERS},
    }
    callers = [RemoteCaller.remote(place, NAMESPACE, bare=bare) for _ in range(CALLERS)]
    ray.get([caller.connect.remote() for caller in callers])
    noop = start_noop()
    database = parquedb.connect(**place)
    collection = database.collection(NAMESPACE)
    pid, seconds = collection.stats()["pid"], bench.choose(10.0, 3.0)
    _together(callers, "closed", CLOSED_CALLERS[0], 2.0)
    peak = max(_per_s(_together(callers, "closed", each, seconds)) for each in CLOSED_CALLERS)
    rows = []
    for multiple in MULTIPLES:
        before = resident_bytes(pid)
        with Growth(pid) as growth, Health(collection.actor, noop) as health:
            offered = _together(callers, "open", multiple * peak / CALLERS, seconds)
        what = f"{multiple:g} x offered, {way}: {_described(offered)}, growth {growth.most - before >> 20} MiB"
        rows.append(
            _row(f"{what} and {offered.growth_bytes >> 20} MiB", offered, peak, bar=BAR if multiple > 1 else None)
        )
        if multiple == MULTIPLES[-1]:
            # Ray gives a process its calls in one line, so behind a flood of bare ones health waits as they do.
            rows.append(health.row(f"health at {multiple:g} x, {way}", bar=None if bare else HEALTH_BAR))
    end_actors(database.settings)
    database.close()
    for actor in (*callers, noop):
        ray.kill(actor)
    return rows


def _health_while_a_commit_hangs(bench: Bench, proxy: FaultProxy) -> Row:
    noop = start_noop()
    database = parquedb.connect(**bench.place("s3", endpoint_url=proxy.url), engine={"degraded_after_s": 0.1})
    collection = database.collection(NAMESPACE)
    collection.create(document())
    hanging = proxy.add("hang_before", method="PUT", path="/log/")
    reply = collection.actor.create.remote(document())
    hanging.wait_fired()
    with Health(collection.actor, noop) as health:
        time.sleep(bench.choose(5.0, 1.5))
    proxy.clear()
    ray.get(reply)
    said = " or ".join(sorted(health.statuses))
    end_actors(database.settings)
    database.close()
    ray.kill(noop)
    return health.row(f"health while a commit hangs ({said})", bar=HEALTH_BAR)


def _health_under_full_load(bench: Bench) -> Row:
    place, noop = bench.place("local"), start_noop()
    callers = [RemoteCaller.remote(place, NAMESPACE, bare=False) for _ in range(CALLERS)]
    ray.get([caller.connect.remote() for caller in callers])
    database = parquedb.connect(**place)
    with Health(database.collection(NAMESPACE).actor, noop) as health:
        rate = _per_s(_together(callers, "closed", CLOSED_CALLERS[-1], bench.choose(10.0, 3.0)))
    end_actors(database.settings)
    database.close()
    for actor in (*callers, noop):
        ray.kill(actor)
    return health.row(f"health under full load, {quantity(rate)} creates /s", bar=HEALTH_BAR)


class Growth:
    """Watches how much memory a process has for itself.

    Attributes:
        most: Bytes.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="growth")
        self.most = resident_bytes(pid)

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, resident_bytes(self._pid))

    def __enter__(self) -> "Growth":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _together(callers: list[Any], way: str, much: float, seconds: float) -> Offered:
    """Let all callers offer so much each, side by side."""
    first, *others = ray.get([getattr(caller, way).remote(much, seconds) for caller in callers])
    total: Offered = first
    for other in others:
        total += other
    return total


def _per_s(offered: Offered) -> float:
    return offered.acknowledged / offered.seconds


def _described(offered: Offered) -> str:
    """The load in words."""
    latencies = offered.latencies_s or [float("nan")]
    p50, p99 = (quantity(percentile(latencies, share)) for share in (0.5, 0.99))
    refused = ", ".join(f"{count} {name}" for name, count in sorted(offered.refused.items())) or "none"
    per_s = quantity(offered.sent / (RAMP_S + offered.seconds))
    return f"{per_s} /s, p50 {p50} s, p99 {p99} s, not acknowledged: {refused}"


def _row(what: str, offered: Offered, peak: float, *, bar: tuple[str, float] | None) -> Row:
    goodput = _per_s(offered)
    note = NOTE.format(
        processes=CALLERS,
        callers=" or ".join(map(str, CLOSED_CALLERS)),
        put=PUT_S,
        queue=QUEUE["queue_ops_max"],
        age=QUEUE["queue_age_max_s"],
    )
    return Row(what, f"{quantity(goodput)} /s", f"{quantity(peak)} /s (peak)", goodput / peak, bar, note=note)
