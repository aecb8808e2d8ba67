"""`verify`: looking at what is stored, from the process that asks.

It reads everything there is. In the owner that would compete with writes and evict what queries have in memory; a Ray
task would need a free slot, and a Ray at all, while what it says must hold whether owners are alive or not. So it runs
where it is called, over storage of its own that is opened for reading only; `ray.remote` of a function that calls it
moves it elsewhere.
"""

import asyncio
import builtins
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from parquedb.actors.requests.arguments import check_timeout
from parquedb.clock import SystemClock
from parquedb.cluster.client.connection import run_blocking
from parquedb.cluster.loads.direct_storage import open_storage, stored_namespaces
from parquedb.cluster.reporting import journal
from parquedb.cluster.reporting.watching import watched_method
from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase
from parquedb.errors import ConfigurationError
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.keys import check_namespace
from parquedb.storage.verification.inventory import strays_at_root
from parquedb.storage.verification.report import DatabaseReport, Findings, Level, VerificationReport
from parquedb.storage.verification.verifier import Progress, Verifier

T = TypeVar("T")

OnProgress = Callable[[Progress], None]


async def verify_database(  # noqa: PLR0913 - the public arguments, and what a connection knows
    settings: Settings,
    hooks: HookRegistry,
    namespaces: Sequence[str] = (),
    *,
    full: bool = True,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
) -> DatabaseReport:
    """Look at namespaces, all of them when none is named, and at what lies beside them.

    Args:
        settings: Where the database is.
        hooks: Told about the reads.
        namespaces: Their names.
        full: Every byte; otherwise log, manifest, and of the rest existence, size and footers.
        progress: Told how far it is, on the event loop.
        timeout_s: Seconds for all of it; None: as long as it takes.

    Raises:
        CollectionNotFoundError: nothing is stored under one of the names.
        ConfigurationError: there is no such database, or it is in the memory of its owners.
        TimeoutError: time was up, or a namespace changes faster than it can be looked at.
        ParqueDBError: storage refused, or did not answer.
    """
    names = [check_namespace(name) for name in dict.fromkeys(namespaces)]
    level, started_s = Level.FULL if full else Level.QUICK, time.monotonic()

    async def look(storage: StorageBackend) -> DatabaseReport:
        findings = Findings()
        if not names:
            await strays_at_root(storage, findings)
        wanted = names or await stored_namespaces(storage)
        reports = [await _verify(storage, name, settings, level, progress) for name in wanted]
        return DatabaseReport(tuple(reports), findings.kept, findings.unnamed, time.monotonic() - started_s)

    return await _with_storage(settings, hooks, look, timeout_s)


async def verify_namespace(  # noqa: PLR0913 - as above
    settings: Settings,
    hooks: HookRegistry,
    namespace: str,
    *,
    full: bool = True,
    progress: OnProgress | None = None,
    timeout_s: float | None = None,
) -> VerificationReport:
    """Look at one namespace; arguments and errors as `verify_database`."""
    level = Level.FULL if full else Level.QUICK

    async def look(storage: StorageBackend) -> VerificationReport:
        return await _verify(storage, namespace, settings, level, progress)

    with watched_method(hooks, "query", namespace, "verify", full=full) as facts:
        report = await _with_storage(settings, hooks, look, timeout_s)
        facts.update(rows=report.counts.documents, bytes=report.counts.bytes_read, cached=False, seq=report.seq)
        return report


async def _verify(
    storage: StorageBackend, namespace: str, settings: Settings, level: Level, progress: OnProgress | None
) -> VerificationReport:
    made = Verifier(storage, namespace, settings.engine, clock=SystemClock(), level=level, progress=progress)
    report = await made.verify()
    journal.verified(report)
    return report


async def _with_storage(
    settings: Settings,
    hooks: HookRegistry,
    look: Callable[[StorageBackend], Coroutine[Any, Any, T]],
    timeout_s: float | None,
) -> T:
    limit_s = None if timeout_s is None else check_timeout(timeout_s, timeout_s)
    if settings.url.startswith("memory:"):
        message = "what memory:// holds lives and dies with its owners: there is nothing stored to look at"
        raise ConfigurationError(message, setting="url")
    storage = open_storage(settings, hooks, read_only=True)
    try:
        async with asyncio.timeout(limit_s):
            return await look(storage)
    except builtins.TimeoutError as error:
        if limit_s is None:
            raise
        raise NoAnswerError(f"the verification did not end within {limit_s:g} s", timeout_s=limit_s) from error
    finally:
        await storage.close()


class VerifyMethods(CollectionBase):
    """What checks a namespace."""

    __slots__ = ()

    def verify(
        self, *, full: bool = True, progress: OnProgress | None = None, timeout_s: float | None = None
    ) -> VerificationReport:
        """Check everything that is stored of the namespace; nothing is changed and no owner is asked.

        Args:
            full: Every byte, and every acknowledged write that the log and the history still tell of; otherwise the
                log and the manifest, and of all the rest existence, size and footers.
            progress: Told how far it is, in another thread.
            timeout_s: None: as long as it takes.

        Returns:
            What was found; `report.ok` says whether no promise is broken. See `docs/verify.md`.

        Raises:
            CollectionNotFoundError: nothing is stored of it.
            TimeoutError: time was up.
        """
        self._database._credentials.check("verify", self.namespace)
        connection = self._database._connection
        connection.require_storage("verify")
        connection.join()
        return run_blocking(
            verify_namespace(
                connection.settings,
                connection.hooks,
                self.namespace,
                full=full,
                progress=progress,
                timeout_s=timeout_s,
            )
        )


class AsyncVerifyMethods(AsyncCollectionBase):
    """What checks a namespace."""

    __slots__ = ()

    async def verify(
        self, *, full: bool = True, progress: OnProgress | None = None, timeout_s: float | None = None
    ) -> VerificationReport:
        """Check everything that is stored of the namespace; see `Collection.verify`."""
        self._database._credentials.check("verify", self.namespace)
        connection = self._database._connection
        connection.require_storage("verify")
        await asyncio.to_thread(connection.join)
        return await verify_namespace(
            connection.settings, connection.hooks, self.namespace, full=full, progress=progress, timeout_s=timeout_s
        )
