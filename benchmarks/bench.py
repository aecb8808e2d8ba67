"""What the benchmarks run in: a scratch directory, one Ray, one S3 server, one event loop; all gone afterwards."""

import asyncio
import compileall
import contextlib
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import ray

import parquedb
from parquedb.cluster.runtime.placement import find, served_namespaces
from tests.support.s3_servers import S3Server, start_weed

T = TypeVar("T")

RAY_CPUS = 2
WHERE = {"local": "local directory", "s3": "S3"}
"""What the table calls each store."""


class Bench:
    """The surroundings of a run. Everything is started when it is first asked for.

    Attributes:
        quick: Whether fewer and shorter rounds are wanted.
        scratch: A directory that is removed at the end.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self._leaving = contextlib.ExitStack()
        # Short: the sockets of Ray lie below it, and their names may not exceed 107 bytes.
        directory = tempfile.TemporaryDirectory(prefix="pqb-", ignore_cleanup_errors=True)
        self.scratch = Path(self._leaving.enter_context(directory))
        self._runner = self._leaving.enter_context(asyncio.Runner())
        self._weed: S3Server | None = None
        self._ray = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()

    def choose(self, thorough: T, quick: T) -> T:
        """One of two, by `quick`."""
        return quick if self.quick else thorough

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the one loop of this run."""
        return self._runner.run(work)

    def say(self, text: str) -> None:
        """Tell whoever waits what is going on; the table alone goes to stdout."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def ray(self) -> None:
        """Start a Ray of this run's own; it ends with the run."""
        if self._ray:
            return
        # As where the package is installed; with PYTHONDONTWRITEBYTECODE each process would compile it anew.
        for folder in Path(parquedb.__path__[0]).iterdir():
            if folder.is_dir():
                compileall.compile_dir(folder.resolve(), quiet=2)
        # Ray's workers run at nice 15: on a busy machine ours would lose to a peer that runs in this process.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(
            address="local",
            num_cpus=RAY_CPUS,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            namespace="parquedb",
            _temp_dir=str(self.scratch / "ray"),
        )
        self._ray = True
        self._leaving.callback(ray.shutdown)

    def weed(self) -> S3Server:
        """A real S3 server (SeaweedFS) on this machine."""
        if self._weed is None:
            self._weed = start_weed(self.scratch / "weed")
            self._leaving.callback(self._weed.stop)
        return self._weed

    def place(self, store: str, *, endpoint_url: str | None = None) -> dict[str, Any]:
        """The arguments of `connect` for a new database in `store`, `local` or `s3`."""
        name = f"b{uuid.uuid4().hex[:12]}"
        if store == "local":
            return {"url": str(self.scratch / name)}
        weed = self.weed()
        url = f"s3://{weed.bucket}/{name}"
        return {"url": url, "endpoint_url": endpoint_url or weed.endpoint_url, "key": weed.key, "secret": weed.secret}


def take_turns(rounds: int, variants: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure every variant once per round, in another order each round, so that none always follows the same one."""
    results: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            results[name].append(variants[name]())
    return results


def end_actors(settings: parquedb.Settings) -> None:
    """End the owners of a database."""
    for namespace in served_namespaces(settings):
        handle = find(settings, namespace)
        if handle is not None:
            ray.kill(handle)


async def rate(call: Callable[[], Coroutine[Any, Any, object]], *, callers: int, seconds: float) -> float:
    """Calls per second of `callers` coroutines, each of which calls, awaits the answer and calls again."""
    started_s = time.perf_counter()
    end_s = started_s + seconds
    calls = 0

    async def caller() -> None:
        nonlocal calls
        while time.perf_counter() < end_s:
            await call()
            calls += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return calls / (time.perf_counter() - started_s)
