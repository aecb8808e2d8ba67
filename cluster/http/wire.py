"""Operations as a gateway reads them, and outcomes as it writes them; every value by Extended JSON.

An operation is the keyword arguments of the method it is named after, the inverse of `actors.requests.arguments.parse`,
with what belongs to its way: `timeout_s`, `age_s` on repeats, and `traceparent`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from parquedb.actors.requests.operations import MANY, Operation, Outcome, Request
from parquedb.cluster.http.answers import Answer, data_of, unreadable
from parquedb.cluster.transport.sessions import request_id_text
from parquedb.documents import extended_json
from parquedb.documents.codec import decode
from parquedb.errors import InvalidInputError, ParqueDBError, ValidationError
from parquedb.storage.query.scan_counts import ScanCost

_BODIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("create", "replace"), "data"),
    **dict.fromkeys(("update", "update_many", "upsert"), "ops"),
}
"""The argument that an operation's body is."""


class GatewayPart(msgspec.Struct, frozen=True):
    """One operation ready to leave.

    Attributes:
        encoded: As JSON.
        deadline_s: When its caller stops waiting (monotonic seconds).
        traceparent: Its span, if it has one.
    """

    encoded: bytes
    deadline_s: float
    traceparent: str | None = None

    def __len__(self) -> int:
        return len(self.encoded)


def encode_operation(operation: Operation, request: Request | None, envelope: Mapping[str, Any]) -> bytes:
    """Return the JSON text of an operation.

    Args:
        operation: What is asked.
        request: Its request id.
        envelope: What belongs to its way; what is None is left out.

    Raises:
        ValidationError: a value is of a type that documents cannot hold.
    """
    arguments = arguments_of(operation)
    if request is not None:
        arguments["request_id"] = request_id_text(request)
    try:
        data = {name: _tagged(value) for name, value in arguments.items()}
        data["op"] = operation.kind
        data |= {name: value for name, value in envelope.items() if value is not None}
        return orjson.dumps(data)
    except TypeError as error:
        raise ValidationError(f"{operation.kind}: {error}", field=operation.kind) from error


def _tagged(value: Any) -> Any:
    # What is left of tuples, naive times and patterns has been made plain where the arguments were checked.
    try:
        return extended_json.tagged(value)
    except InvalidInputError as error:
        raise ValidationError(error.message, cause=error) from error


def arguments_of(operation: Operation) -> dict[str, Any]:
    """Return the keyword arguments that make this operation."""
    kind, body = operation.kind, operation.body
    arguments = dict(operation.options)
    if operation.id is not None:
        arguments["id"] = operation.id
    if kind in MANY:
        # The one argument without a default; whoever means all documents has to say so.
        arguments.setdefault("filter", None)
    if kind in _BODIES:
        arguments[_BODIES[kind]] = body
    elif kind == "create_many":
        arguments["docs"] = [decode(bytes(each)) if type(each) is msgspec.Raw else each for each in body]
    elif kind == "batch":
        arguments["operations"] = [_item(Operation.from_wire(wire)) for wire in body]
    elif kind == "register":
        arguments |= body
    return arguments


def _item(operation: Operation) -> dict[str, Any]:
    return {"op": operation.kind, **arguments_of(operation)}


def join_parts(parts: Sequence[GatewayPart]) -> bytes:
    """Return the body of one request."""
    return b'{"operations":[' + b",".join(part.encoded for part in parts) + b"]}"


def outcomes_of(answer: Answer, count: int) -> list[Outcome]:
    """Return the outcomes of the operations of one request.

    Raises:
        NoAnswer: the answer is none to so many operations.
    """
    results = data_of(answer).get("results")
    if type(results) is not list or len(results) != count:
        raise unreadable(answer, f"expected {count} results")
    try:
        return [_outcome(result) for result in results]
    except (KeyError, TypeError, ValueError, AttributeError, InvalidInputError) as error:
        raise unreadable(answer, f"{type(error).__name__}: {error}") from error


def _outcome(result: dict[str, Any]) -> Outcome:
    if not result["ok"]:
        return Outcome(error=ParqueDBError.from_json(result["error"]))
    cost = result.get("cost")
    return Outcome(
        extended_json.untagged(result["value"]),
        seq=result.get("seq", 0),
        duplicate=bool(result.get("duplicate", False)),
        cost=None if cost is None else ScanCost(*cost),
    )


def value_of(answer: Answer) -> Any:
    """Return the value of an answer to a single method.

    Raises:
        NoAnswer: it has none.
    """
    data = data_of(answer)
    try:
        value = extended_json.untagged(data["value"])
        if type(value) is dict and "tiers" in value:
            # Of `stats`, the one dict with numbers for keys, which JSON has not.
            value["tiers"] = {int(tier): files for tier, files in value["tiers"].items()}
    except (KeyError, ValueError, AttributeError, InvalidInputError) as error:
        raise unreadable(answer, f"{type(error).__name__}: {error}") from error
    return value
