"""Documents as resources: `/v1/{namespace}` takes new ones, `/v1/{namespace}/documents/{id}` is one."""

from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.gateway.answers import document_response, etag, location
from parquedb.cluster.gateway.call import Call
from parquedb.errors import EntityNotFoundError, ValidationError
from parquedb.storage.keys import split_id

REPLAYED: Final = "Idempotent-Replayed"
"""Says `true` on an answer that was given before, to the same key."""


async def create_document(call: Call) -> Response:
    """Store a new document."""
    call.take_query("id")
    data = await call.json_object()
    outcome = await call.write({"op": "create", "data": data, "id": call.query.get("id")})
    return _created(call, outcome)


async def get_document(call: Call) -> Response:
    """Answer with a document, or only its headers."""
    call.take_query("include_deleted", "as_of", "fields")
    fields = call.query_json("fields")
    item = {
        "op": "get",
        "id": call.document_id,
        "include_deleted": call.query_flag("include_deleted"),
        "as_of": query_as_of(call),
        "fields": fields,
    }
    document: dict[str, Any] | None = (await call.ask(item)).value
    if document is None:
        raise EntityNotFoundError(id=call.document_id, namespace=call.namespace)
    # A part of a document is another representation, which would need a tag of its own.
    headers = {} if fields is not None else {"ETag": etag(document)}
    return document_response(document, headers=headers, head=call.scope["method"] == "HEAD")


def query_as_of(call: Call) -> int | datetime | None:
    """Return the moment that a query string names: a seq, or a time in ISO 8601 form.

    Raises:
        ValidationError: it is neither.
    """
    text = call.query.get("as_of")
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return call.query_number("as_of", 0)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValidationError(f"as_of: expected a seq or an ISO 8601 time, got {text[:40]!r}", field="as_of") from None


def _created(call: Call, outcome: Outcome) -> Response:
    document = outcome.value
    where = location(call.scope.get("root_path", ""), call.namespace, split_id(document["$id"], call.namespace))
    return document_response(document, 201, {"Location": where, "ETag": etag(document)} | replayed(outcome))


def replayed(outcome: Outcome) -> dict[str, str]:
    """Return the header that tells an answer given before."""
    return {REPLAYED: "true"} if outcome.duplicate else {}
