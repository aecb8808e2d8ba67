"""The paths of the gateway: as templates, which routes, spans and metrics are named by."""

from typing import Final

NAMESPACES: Final = "/v1"
NAMESPACE: Final = "/v1/{namespace}"
DOCUMENT: Final = "/v1/{namespace}/documents/{id}"
OPERATIONS: Final = "/v1/{namespace}/operations"
IMPORT: Final = "/v1/{namespace}/import"
EXPORT: Final = "/v1/{namespace}/export"
CHANGES: Final = "/v1/{namespace}/changes"
HISTORY: Final = "/v1/{namespace}/history"
SCHEMA: Final = "/v1/{namespace}/schema"
METHOD: Final = "/v1/{namespace}/{method}"
HEALTH: Final = "/health"
READY: Final = "/ready"
METRICS: Final = "/metrics"
OPENAPI: Final = "/openapi.json"
DOCS: Final = "/docs"
CONSOLE: Final = "/console"
CONSOLE_DATA: Final = "/console/data"
CONSOLE_FILE: Final = "/console/{file}"

PROBES: Final = frozenset({HEALTH, READY})
"""Answered however busy the gateway is."""

_ALONE: Final = frozenset({NAMESPACES, HEALTH, READY, METRICS, OPENAPI, DOCS, CONSOLE, CONSOLE_DATA})
_BELOW: Final = {path.rpartition("/")[2]: path for path in (OPERATIONS, IMPORT, EXPORT, CHANGES, HISTORY, SCHEMA)}


def route_of(path: str) -> str:
    """Return the template that a path fits; empty for a path that is none. There are few, whatever callers send."""
    if path in _ALONE:
        return path
    parts = path.split("/", 4)
    match parts:
        case ["", "v1", namespace] if namespace:
            return NAMESPACE
        case ["", "v1", namespace, below] if namespace and below:
            return _BELOW.get(below, METHOD)
        case ["", "v1", namespace, "documents", id_] if namespace and id_:
            return DOCUMENT
        case ["", "console", file] if file:
            return CONSOLE_FILE
    return ""
