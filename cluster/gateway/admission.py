"""What a caller may ask: operations in dict form, checked against limits, permissions and the rule about actors.

Nothing has been sent when this refuses. The owner checks the permissions again; what is refused here only spares the
way to it.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

from parquedb.access.permissions import Permissions
from parquedb.access.principal import Principal
from parquedb.actors.requests import arguments, checks
from parquedb.actors.requests.operations import Operation
from parquedb.errors import PermissionDeniedError, ValidationError
from parquedb.schemas.model import Schema
from parquedb.settings.gateway import GatewaySettings

QUESTIONS: Final = frozenset({"flush", "compact", "stats"})
"""Methods that are asked of the owner itself, and take no arguments."""

METHODS: Final = frozenset(arguments.BUILDERS) | QUESTIONS

_TAKE_ACTOR: Final = frozenset(
    name for name, builder in arguments.BUILDERS.items() if "actor" in inspect.signature(builder).parameters
)
_SINGLE_WRITES: Final = ("create", "update", "replace", "delete", "restore")
_COUNTED: Final = ("filter", "ops", "pipeline", "array_filters", "sort", "fields")
"""Arguments whose size decides how long it takes to understand them."""


def admit(
    principal: Principal, settings: GatewaySettings, namespace: str, item: Any, *, at: str = "operation"
) -> Operation:
    """Turn an operation in dict form into one that may be sent.

    Args:
        principal: Who asks.
        settings: The limits.
        namespace: For which namespace.
        item: `{"op": "create", "data": {...}}`, as values; it may come from anywhere.
        at: Where it stands in what was sent, for messages.

    Raises:
        ValidationError: it is none, or too large.
        PermissionDeniedError: the caller may not do it, or names another actor than himself.
    """
    if type(item) is not dict:
        checks.refuse(at, 'an object such as {"op": "create", "data": {...}}', item)
    name = item.get("op")
    if isinstance(name, str) and name in arguments.BUILDERS:
        check_permission(principal.permissions, name, namespace, item)
        _check_sizes(item, settings)
        if name == "register":
            item = _with_schema(item)
        if principal.authenticated_by != "none" and name in _TAKE_ACTOR:
            item = _as_actor(principal, name, item)
    return arguments.parse(namespace, item, at=at)


def check_permission(permissions: Permissions, name: str, namespace: str, item: Mapping[str, Any]) -> None:
    """Return if an operation is allowed, and with a batch everything in it.

    Raises:
        PermissionDeniedError: it is not.
    """
    permissions.check(name, namespace)
    if name == "batch":
        for inner in _inner(item):
            kind = inner.get("op")
            if isinstance(kind, str):
                permissions.check(kind, namespace)


_SCHEMA_WIRE: Final = frozenset({"name", "closed", "fields"})


def _with_schema(item: dict[str, Any]) -> dict[str, Any]:
    """Return a registration whose schema is one, where it came in the form in which `schema` answers."""
    given = item.get("schema")
    # In compact notation every value is text or an object.
    if type(given) is not dict or given.keys() != _SCHEMA_WIRE or type(given["closed"]) is not bool:
        return item
    try:
        return {**item, "schema": Schema.from_wire(given)}
    except (TypeError, KeyError, ValueError, AttributeError):
        checks.refuse("schema", "a schema in compact notation, or as it was answered", given)


def _as_actor(principal: Principal, name: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return an operation done by the caller, and with a batch everything in it."""
    check_actor(principal, item.get("actor"))
    made = {**item, "actor": principal.subject}
    inner = item.get("operations")
    if name == "batch" and type(inner) is list:
        # Each has an actor of its own; what is no operation is refused when it is parsed.
        made["operations"] = [
            _as_actor(principal, one["op"], one) if type(one) is dict and one.get("op") in _SINGLE_WRITES else one
            for one in inner
        ]
    return made


def check_actor(principal: Principal, actor: Any) -> None:
    """Return if a caller that has said who it is may be said to be this actor: itself, or nobody named.

    Raises:
        PermissionDeniedError: it names another.
    """
    if actor is not None and actor != principal.subject:
        raise PermissionDeniedError("a caller cannot name another actor than itself")


def _inner(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the operations inside of a batch as far as they are any; what is none is refused when it is parsed."""
    operations = batch.get("operations")
    return [one for one in operations if type(one) is dict] if type(operations) is list else []


def _check_sizes(item: Mapping[str, Any], settings: GatewaySettings) -> None:
    for name in _COUNTED:
        value = item.get(name)
        if type(value) in {dict, list} and count_values(value, settings.filter_values_max) > settings.filter_values_max:
            expected = f"at most {settings.filter_values_max} values"
            raise ValidationError(f"{name}: expected {expected}, got more", field=name, expected=expected)
    limit = item.get("limit")
    if type(limit) is int and limit > settings.page_documents_max:
        checks.refuse("limit", f"an int up to {settings.page_documents_max}", limit)


def count_values(value: Any, enough: int) -> int:
    """Return how many values there are at all levels; counting ends once there are more than `enough`."""
    count, waiting = 0, [value]
    while waiting and count <= enough:
        found = waiting.pop()
        count += 1
        if type(found) is dict:
            waiting.extend(found.values())
        elif type(found) is list:
            waiting.extend(found)
    return count
