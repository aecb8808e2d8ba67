"""Documents as resources: `/v1/{namespace}` takes new ones, `/v1/{namespace}/documents/{id}` is one."""

from typing import Any, Final

from starlette.responses import Response

from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.gateway.answers import document_response, etag, location
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.conditional_writes import Unmet, conditional, create_only
from parquedb.cluster.gateway.conditions import Conditions
from parquedb.errors import EntityNotFoundError
from parquedb.storage.keys import split_id

REPLAYED: Final = "Idempotent-Replayed"
"""Says `true` on an answer that was given before, to the same key."""


async def create_document(call: Call) -> Response:
    """Store a new document: 201 and where it is."""
    call.query.expect("id")
    data = await call.json_object()
    return _created(call, await call.write({"op": "create", "data": data, "id": call.query.get("id")}))


async def get_document(call: Call) -> Response:
    """Answer with a document, or only its headers; 304 where the caller has it already."""
    call.query.expect("include_deleted", "as_of", "fields")
    fields = call.query.json("fields")
    item: dict[str, Any] = {"op": "get", "id": call.document_id}
    # Plain gets leave together.
    if call.query:
        item |= {"include_deleted": call.query.flag("include_deleted"), "as_of": call.query.as_of(), "fields": fields}
    document: dict[str, Any] | None = (await call.ask(item)).value
    if document is None:
        raise EntityNotFoundError(id=call.document_id, namespace=call.namespace)
    if fields is not None:
        # A part of a document is another representation, which would need a tag of its own.
        return document_response(document, head=call.is_head)
    tag = etag(document)
    conditions = Conditions.of(call.headers)
    if conditions.if_match is not None and not conditions.if_match.matches_strongly(document["version"]):
        raise Unmet(conditions.if_match, document["version"])
    if conditions.if_none_match is not None and conditions.if_none_match.matches_weakly(document["version"]):
        return Response(status_code=304, headers={"ETag": tag})
    return document_response(document, headers={"ETag": tag}, head=call.is_head)


async def put_document(call: Call) -> Response:
    """Put another content in the place of a document's; `If-None-Match: *` makes a new one instead."""
    call.query.expect()
    conditions = Conditions.of(call.headers)
    data = await call.json_object()
    if conditions.if_none_match is not None and conditions.if_none_match.anything:
        return _created(call, await create_only(call, conditions, data))
    return _written(await conditional(call, conditions, {"op": "replace", "id": call.document_id, "data": data}))


async def patch_document(call: Call) -> Response:
    """Change a document by update operators."""
    call.query.expect("upsert", "array_filters")
    item: dict[str, Any] = {"op": "update", "id": call.document_id, "ops": await call.json_object()}
    if call.query:
        item |= {"upsert": call.query.flag("upsert"), "array_filters": call.query.json("array_filters")}
    outcome = await conditional(call, Conditions.of(call.headers), item)
    inserted = item.get("upsert") and outcome.value["version"] == 1
    return _created(call, outcome) if inserted else _written(outcome)


async def delete_document(call: Call) -> Response:
    """Delete a document: 204."""
    call.query.expect("hard")
    item = {"op": "delete", "id": call.document_id, "hard": call.query.flag("hard")}
    outcome = await conditional(call, Conditions.of(call.headers), item)
    if not outcome.value:
        raise EntityNotFoundError(id=call.document_id, namespace=call.namespace)
    return Response(status_code=204, headers=_replayed(outcome))


def _created(call: Call, outcome: Outcome) -> Response:
    document = outcome.value
    where = location(call.scope.get("root_path", ""), call.namespace, split_id(document["$id"], call.namespace))
    return document_response(document, 201, {"Location": where, "ETag": etag(document)} | _replayed(outcome))


def _written(outcome: Outcome) -> Response:
    document = outcome.value
    return document_response(document, headers={"ETag": etag(document)} | _replayed(outcome))


def _replayed(outcome: Outcome) -> dict[str, str]:
    return {REPLAYED: "true"} if outcome.duplicate else {}
