"""Check of a gateway: whether it lives, and whether it says that it is ready."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from parquedb.cluster.doctor.checks import Check, Patient, failed, ok, skipped, warning

_OK: Final = 200
_ANSWER_MAX: Final = 1 << 20


def gateway(patient: Patient) -> Iterator[Check]:
    """Ask for /health and /ready; no credentials are sent."""
    settings = patient.settings
    if settings is None or not settings.is_gateway:
        yield skipped("gateway", "the database is not behind one")
        return
    parts = urlsplit(settings.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=patient.timeout_s / 2)
        try:
            alive, _ = _asked(connection, parts.path.rstrip("/") + "/health")
            ready, says = _asked(connection, parts.path.rstrip("/") + "/ready")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield failed("gateway", f"{parts.netloc} cannot be reached: {error or type(error).__name__}")
        return
    if alive != _OK:
        yield failed("gateway", f"/health answers {alive}: is it a gateway of ParqueDB?")
    elif ready != _OK:
        yield failed("gateway", f"/ready answers {ready}: {says.get('status', 'no reason')}{_reasons(says)}")
    elif says.get("status") not in {None, "ready", "healthy", "ok"}:
        yield warning("gateway", f"it is {says['status']}{_reasons(says)}")
    else:
        yield ok("gateway", "it lives and is ready")


def _asked(connection: http.client.HTTPConnection, path: str) -> tuple[int, dict[str, Any]]:
    connection.request("GET", path, headers={"Accept": "application/json"})
    answer = connection.getresponse()
    data = answer.read(_ANSWER_MAX)
    try:
        says = json.loads(data)
    except ValueError:
        says = {}
    return answer.status, says if isinstance(says, dict) else {}


def _reasons(says: dict[str, Any]) -> str:
    checks = says.get("checks")
    if not isinstance(checks, dict):
        return ""
    bad = [
        f"{name} is {one['status']}"
        for name, one in checks.items()
        if isinstance(one, dict) and one.get("status") not in {None, "ok", "healthy", "ready"}
    ]
    return f" ({'; '.join(bad)})" if bad else ""
