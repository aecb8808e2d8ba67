"""The arguments of the public methods about schemas, checked and turned into an `Operation`; see `arguments`."""

# ruff: noqa: ARG001 - every builder takes the namespace, so that all are called alike

from typing import Any

from parquedb.actors.requests import checks
from parquedb.actors.requests.operations import Operation, Request
from parquedb.schemas.guard import Mode
from parquedb.schemas.source import parse


def register(
    namespace: str,
    schema: Any,
    *,
    mode: str = "permissive",
    validate_existing: bool = False,
    request_id: Request | None = None,
) -> Operation:
    """Check the arguments of `register`."""
    if not isinstance(mode, str) or mode not in set(Mode):
        checks.refuse("mode", f"one of {', '.join(Mode)}", mode, shown=True)
    options = checks.given_options(validate_existing=checks.flag("validate_existing", validate_existing))
    body = {"schema": parse(schema).to_wire(), "mode": str(mode)}
    return Operation("register", None, body, options, checks.request(request_id))


def schema(namespace: str) -> Operation:
    """Return the operation of `schema`."""
    return Operation("schema")
