"""Whether this process should be sent requests: `/ready`.

    unhealthy   the store does not answer, or no owner can be asked: nothing works. 503
    degraded    owners answer but cannot be listed, one is in trouble, a circuit is open, changes wait too long for a
                flush: something does not. 200

An owner in trouble concerns its namespace alone; a gateway that went out of service for it would take all others along.
"""

import asyncio
import builtins
import time
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from parquedb.cluster.gateway.answers import json_response
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.gateway import Gateway
from parquedb.cluster.overview.health import DatabaseHealth, OwnerHealth
from parquedb.errors import ParqueDBError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.keys import PROBE_FOLDER

REASONS_MAX: Final = 20
"""Reasons that are told; more are counted."""

_PROBED_KEY: Final = f"{PROBE_FOLDER}/ready"
_BADNESS: Final = ("healthy", "degraded", "unhealthy")

Found = tuple[str, list[str], dict[str, Any]]
"""A status, reasons for it, and facts besides."""


class Readiness:
    """Looks at everything that requests depend on, at most once in `ready_cache_s`, however many ask.

    Args:
        gateway: Whose database is looked at.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._storage: StorageBackend | None = None
        self._looking: asyncio.Task[dict[str, Any]] | None = None
        self._looked_s = float("-inf")

    async def look(self) -> dict[str, Any]:
        """Return `status`, and each check with its own status and reasons."""
        now_s = time.monotonic()
        looking = self._looking
        if looking is None or (looking.done() and now_s - self._looked_s >= self._gateway.settings.ready_cache_s):
            looking = self._looking = asyncio.create_task(self._look())
        # Whoever gives up must not take the look away from the others.
        return await asyncio.shield(looking)

    async def close(self) -> None:
        """Let go of the store."""
        if self._looking is not None:
            self._looking.cancel()
        if self._storage is not None:
            await self._storage.close()

    async def _look(self) -> dict[str, Any]:
        found = dict(zip(("storage", "owners"), await asyncio.gather(self._store(), self._owners()), strict=True))
        checks = {name: {"status": status, "reasons": _cut(reasons)} for name, (status, reasons, _) in found.items()}
        facts = {name: one for _, _, more in found.values() for name, one in more.items()}
        self._looked_s = time.monotonic()
        worst = max((status for status, _, _ in found.values()), key=_BADNESS.index)
        return {"status": worst, "checks": checks, **facts}

    async def _store(self) -> Found:
        connection, limit_s = self._gateway.database._connection, self._gateway.settings.ready_timeout_s
        if connection.settings.url.startswith("memory:"):
            return "healthy", [], {}
        try:
            async with asyncio.timeout(limit_s):
                if self._storage is None:
                    self._storage = connection.open_storage("ready")
                await self._storage.exists(_PROBED_KEY, timeout_s=limit_s)
        except builtins.TimeoutError:
            return "unhealthy", [f"the store did not answer within {limit_s:g} s"], {}
        except ParqueDBError as error:
            return "unhealthy", [f"the store does not answer: {error.code}"], {}
        return "healthy", [], {}

    async def _owners(self) -> Found:
        limit_s = self._gateway.settings.ready_timeout_s
        try:
            health = await self._gateway.database.health(timeout_s=limit_s)
        except ParqueDBError as error:
            return "unhealthy", [f"the owners cannot be asked: {error.code}"], {}
        return self._judged(health)

    def _judged(self, health: DatabaseHealth) -> Found:
        if health.error is not None and all(owner.error is not None for owner in health.owners.values()):
            return "unhealthy", ["the owners cannot be listed"], {}
        # Without a head the owners that are known serve on: all gateways would go out of service together for it.
        reasons = ["the owners cannot be listed"] if health.error is not None else []
        reasons += [reason for owner in health.owners.values() for reason in self._reasons(owner)]
        reasons += [
            f"circuit {name} is {circuit.state}" for name, circuit in health.circuits.items() if _opened(circuit)
        ]
        owners = {name: _facts(owner) for name, owner in health.owners.items()}
        return ("degraded" if reasons else "healthy"), reasons, {"owners": owners}

    def _reasons(self, owner: OwnerHealth) -> list[str]:
        reasons = [str(reason) for reason in owner.report.get("reasons", ())]
        if owner.error is not None:
            reasons.append("its owner does not answer")
        elif owner.status != "healthy" and not reasons:
            reasons.append(f"its owner is {owner.status}")
        unflushed_s = owner.report.get("lag", {}).get("unflushed_s", 0.0)
        most_s = self._gateway.settings.lag_degraded_s
        if unflushed_s > most_s:
            reasons.append(f"changes have waited {unflushed_s:.0f} s for a flush, more than {most_s:g} s")
        return [f"{owner.namespace}: {reason}" for reason in reasons]


async def answer_ready(call: Call, readiness: Readiness) -> Response:
    """Answer 200 or 503; why, only to those who may know: reasons name namespaces."""
    call.operation = "ready"
    found = await readiness.look()
    status = HTTPStatus.SERVICE_UNAVAILABLE if found["status"] == "unhealthy" else HTTPStatus.OK
    if call.gateway.settings.access.authenticates and not call.principal.permissions.allows("health"):
        checks = {name: {"status": one["status"]} for name, one in found["checks"].items()}
        found = {"status": found["status"], "checks": checks}
    return json_response(found, status, {"Cache-Control": "no-store"})


def _facts(owner: OwnerHealth) -> dict[str, Any]:
    """Return what is told of an owner: how it is, why, and how far it has come and is behind."""
    report = owner.report
    return {
        "status": owner.status,
        "state": owner.state,
        "error": owner.error,
        "reasons": list(report.get("reasons", ())),
        "circuits": report.get("circuits", {}),
        # Its last error is one of the reasons.
        "lag": {name: value for name, value in report.get("lag", {}).items() if name != "last_error"},
        "version": report.get("version"),
    }


def _opened(circuit: Any) -> bool:
    return str(circuit.state) != "closed"


def _cut(reasons: list[str]) -> list[str]:
    more = len(reasons) - REASONS_MAX
    return reasons if more <= 0 else [*reasons[:REASONS_MAX], f"and {more} more"]
