"""Every method of a collection over HTTP: `POST /v1/{namespace}/{method}`; and queries by GET."""

from typing import Any, Final

import orjson
from starlette.responses import Response

from parquedb.access.permissions import READ
from parquedb.access.reserved import is_reserved
from parquedb.actors.requests import checks
from parquedb.actors.requests.operations import WRITES, Outcome
from parquedb.actors.requests.read_arguments import LIMIT_DEFAULT
from parquedb.cluster.gateway.admission import METHODS, QUESTIONS
from parquedb.cluster.gateway.answers import JSON, json_response
from parquedb.cluster.gateway.call import Call
from parquedb.documents import extended_json
from parquedb.errors import NotFoundError

_FIND: Final = ("filter", "sort", "fields", "limit", "skip", "cursor", "total", "include_deleted", "as_of")


async def list_namespaces(call: Call) -> Response:
    """Name the namespaces that the caller may read."""
    call.query.expect()
    call.operation = "namespaces"
    allows = call.principal.permissions.allows
    found = await call.gateway.database.namespaces()
    names = [one for one in found if not is_reserved(one) and any(allows(kind, one) for kind in READ)]
    return json_response({"namespaces": names})


async def find_documents(call: Call) -> Response:
    """Answer a query that stands in the query string, a page at a time."""
    call.query.expect(*_FIND)
    item = {
        "op": "find",
        "filter": call.query.json("filter"),
        "sort": call.query.sort(),
        "fields": call.query.json("fields"),
        "limit": call.query.number("limit", LIMIT_DEFAULT),
        "skip": call.query.number("skip", 0),
        "cursor": call.query.get("cursor"),
        "total": call.query.flag("total"),
        "include_deleted": call.query.flag("include_deleted"),
        "as_of": call.query.as_of(),
    }
    return json_response(extended_json.tagged((await call.ask(item)).value))


async def run_method(call: Call) -> Response:
    """Carry out the method that the path names with the arguments in the body."""
    call.query.expect()
    method = call.method
    if method not in METHODS:
        raise NotFoundError(f"no method {method[:80]!r}; expected one of {', '.join(sorted(METHODS))}")
    body = await call.json_object(optional=True)
    if method in QUESTIONS:
        return await _ask_owner(call, method, body)
    if "op" in body:
        checks.refuse("op", f"the arguments of {method} alone", body["op"])
    outcome = await (call.write if method in WRITES else call.ask)({**body, "op": method})
    return _answer(outcome)


async def _ask_owner(call: Call, method: str, body: dict[str, Any]) -> Response:
    if body:
        checks.refuse("body", f"no arguments of {method}", body)
    call.operation = method
    call.principal.permissions.check(method, call.namespace)
    value = await call.database._ask(call.namespace, method, call.left_s())
    # Counts and sizes, some of them by numbers.
    return Response(orjson.dumps({"value": value}, option=orjson.OPT_NON_STR_KEYS), media_type=JSON)


async def get_schema(call: Call) -> Response:
    """Answer with the schema in force."""
    call.query.expect()
    outcome = await call.ask({"op": "schema"})
    if outcome.value is None:
        raise NotFoundError(f"{call.namespace!r} has no schema")
    return json_response(extended_json.tagged(outcome.value))


async def put_schema(call: Call) -> Response:
    """Register a schema: compact notation, or what `GET` answers under `schema`."""
    call.query.expect("mode", "validate_existing")
    item: dict[str, Any] = {"op": "register", "schema": await call.json_object()}
    if "mode" in call.query:
        item["mode"] = call.query["mode"]
    if "validate_existing" in call.query:
        item["validate_existing"] = call.query.flag("validate_existing")
    return json_response(extended_json.tagged((await call.write(item)).value))


def _answer(outcome: Outcome) -> Response:
    told = {"value": extended_json.tagged(outcome.value), "seq": outcome.seq}
    if outcome.duplicate:
        told["duplicate"] = True
    return json_response(told)
