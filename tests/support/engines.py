"""Engines without Ray, for tests: one namespace over a store that the test chooses."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import Operation, Outcome, Request
from parquedb.clock import Clock, SystemClock
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend

NAMESPACE = "posts"


async def inline(work: Callable[[], Any]) -> Any:
    """Run CPU work where it is asked for."""
    return work()


def settings(**changes: Any) -> EngineSettings:
    """Settings under which nothing happens by itself: tests ask for flushes, compactions and collections."""
    values: dict[str, Any] = {
        "read_lease_s": 0.0,
        "flush_interval_s": 3600,
        "collect_interval_s": 3600,
        "compaction_interval_s": 3600,
        **changes,
    }
    return EngineSettings(**values)


def engine(
    storage: StorageBackend,
    *,
    clock: Clock | None = None,
    seed: int | None = None,
    hooks: HookRegistry | None = None,
    namespace: str = NAMESPACE,
    **changes: Any,
) -> NamespaceEngine:
    """Return an engine that is not open yet."""
    return NamespaceEngine(
        namespace,
        storage,
        settings(**changes),
        clock=clock or SystemClock(),
        rng=random.Random(seed),
        hooks=hooks or HookRegistry(),
        run=inline,
    )


@asynccontextmanager
async def opened(storage: StorageBackend, **options: Any) -> AsyncIterator[NamespaceEngine]:
    """An open engine, closed at the end if it still is."""
    made = engine(storage, **options)
    await made.open()
    try:
        yield made
    finally:
        if made.state == "open":
            await made.close()
        made.abandon()


async def outcome(  # noqa: PLR0913 - the fields of an operation
    owner: NamespaceEngine,
    kind: str,
    id: str | None = None,  # noqa: A002 - the public word for it
    body: Any = None,
    *,
    request: Request | None = None,
    timeout_s: float | None = None,
    age_s: float = 0.0,
    **options: Any,
) -> Outcome:
    """Run one operation and return its outcome."""
    operation = Operation(kind, id, body, options, request, None, timeout_s, age_s)
    return (await owner.execute([operation]))[0]


async def run(owner: NamespaceEngine, kind: str, id: str | None = None, body: Any = None, **more: Any) -> Any:  # noqa: A002 - as above
    """Run one operation and return its value, or raise its error."""
    return (await outcome(owner, kind, id, body, **more)).result()
