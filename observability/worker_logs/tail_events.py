"""Tail events of Cloudflare Workers, as they are delivered to a tail worker, as records of the worker logs.

Source: Cloudflare documentation, "Tail handler", `TraceItem`: times in milliseconds, `logs` with `message` as a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def record_of_tail_event(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return one tail event as the record of an event, for `WorkerLogsView.ingest`.

    Args:
        item: `scriptName`, `eventTimestamp`, `outcome`, `event` with `request` and `response`, `logs`, `exceptions`.
    """
    event = _mapping(item.get("event"))
    request, response = _mapping(event.get("request")), _mapping(event.get("response"))
    headers = _mapping(request.get("headers"))
    cpu, wall = item.get("cpuTime"), item.get("wallTime")
    record = {
        "script": item.get("scriptName"),
        "event_time": _seconds(item.get("eventTimestamp")),
        "outcome": item.get("outcome"),
        "http_method": request.get("method"),
        "http_url": request.get("url"),
        "http_status": response.get("status"),
        "request_id": headers.get("cf-ray"),
        "duration": _seconds(wall),
        "colo": _mapping(request.get("cf")).get("colo"),
        "cpu_ms": cpu,
        "logs": [
            {"log_time": _seconds(line.get("timestamp")), "level": line.get("level"), "message": _message(line)}
            for line in map(_mapping, item.get("logs") or ())
        ],
        "exceptions": [
            {"log_time": _seconds(line.get("timestamp")), "name": line.get("name"), "message": line.get("message")}
            for line in map(_mapping, item.get("exceptions") or ())
        ],
    }
    return {name: value for name, value in record.items() if value is not None}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def _message(line: Mapping[str, Any]) -> str:
    parts = line.get("message")
    return " ".join(map(str, parts)) if isinstance(parts, list) else str(parts)
