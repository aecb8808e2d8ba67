"""Many operations in one request: `/v1/{namespace}/operations`.

Each is for itself. All are started in the order in which they stand, and then awaited together, so that those to one
owner leave together as well.
"""

import asyncio
from typing import Any

from starlette.responses import Response

from parquedb.actors.requests import checks
from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.gateway.admission import admit
from parquedb.cluster.gateway.answers import JSON
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.problems import error_data, json_text
from parquedb.documents import extended_json
from parquedb.errors import ParqueDBError


async def run_operations(call: Call) -> Response:
    """Carry out a list of operations; the answer is 200 once any may have been started."""
    call.take_query()
    call.operation = "operations"
    namespace, body = call.namespace, await call.json_object()
    items = body.get("operations")
    if type(items) is not list or len(body) != 1:
        checks.refuse("body", 'an object such as {"operations": [{"op": "get", "id": "a"}]}', items)
    operations_max = call.gateway.settings.operations_max
    if len(items) > operations_max:
        checks.refuse("operations", f"at most {operations_max} operations", len(items))
    call.left_s()
    answers = await asyncio.gather(*(_begun(call, namespace, index, item) for index, item in enumerate(items)))
    return Response(json_text({"results": answers}), media_type=JSON)


async def _begun(call: Call, namespace: str, index: int, item: Any) -> dict[str, Any]:
    try:
        operation = admit(call.principal, call.gateway.settings, namespace, item, at=f"operations[{index}]")
        outcome: Outcome = await call.database._run(namespace, operation, call.left_s())
        return {
            "ok": True,
            "value": extended_json.tagged(outcome.value),
            "seq": outcome.seq,
            "duplicate": outcome.duplicate,
        }
    except ParqueDBError as error:
        return {"ok": False, "error": error_data(error)}
