"""Many operations in one request: `/v1/{namespace}/operations`.

Each is for itself. All are started in the order in which they stand, and then awaited together, so that those to one
owner leave together as well. One that shall see what another did belongs into a later request.
"""

import asyncio
import math
from typing import Any

import msgspec
from starlette.responses import Response

from parquedb.actors.requests import checks
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.gateway.admission import admit
from parquedb.cluster.gateway.answers import JSON
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.problems import error_data, json_text
from parquedb.documents import extended_json
from parquedb.errors import InternalError, ParqueDBError, ValidationError
from parquedb.observability.logs import get_logger
from parquedb.observability.otel.http_spans import remote_span

_logger = get_logger(__name__)


async def run_operations(call: Call) -> Response:
    """Carry out a list of operations; the answer is 200 once any may have been started."""
    call.query.expect()
    call.operation = "operations"
    namespace, body = call.namespace, await call.json_object()
    items = body.get("operations")
    if type(items) is not list or len(body) != 1:
        checks.refuse("body", 'an object such as {"operations": [{"op": "get", "id": "a"}]}', items)
    operations_max = call.gateway.settings.operations_max
    if len(items) > operations_max:
        checks.refuse("operations", f"at most {operations_max} operations", len(items))
    call.left_s()
    answers = await asyncio.gather(*(_answer(call, namespace, index, item) for index, item in enumerate(items)))
    return Response(json_text({"results": answers}), media_type=JSON)


async def _answer(call: Call, namespace: str, index: int, item: Any) -> dict[str, Any]:
    try:
        outcome = await _run(call, namespace, index, item)
        value = extended_json.tagged(outcome.value)
    except ParqueDBError as error:
        call.gateway.note(namespace, str(item.get("op")) if type(item) is dict else "", error, call.request_id)
        return {"ok": False, "error": error_data(error)}
    except Exception:
        # Others may have been applied: this one must not take their answers along.
        call.gateway.counts.unforeseen += 1
        _logger.exception("an operation failed in a way nobody foresaw", extra={"event": "http.failed"})
        told = InternalError("an internal error; the log has more")
        call.gateway.note(namespace, "operations", told, call.request_id)
        return {"ok": False, "error": error_data(told)}
    answer = {"ok": True, "value": value, "seq": outcome.seq, "duplicate": outcome.duplicate}
    if outcome.cost is not None:
        answer["cost"] = list(outcome.cost)
    return answer


async def _run(call: Call, namespace: str, index: int, item: Any) -> Outcome:
    at = f"operations[{index}]"
    timeout_s, age_s, traceparent = call.left_s(), 0.0, None
    if type(item) is dict and not _ENVELOPE.isdisjoint(item):
        item = dict(item)
        timeout_s = min(timeout_s, _seconds(at, item, "timeout_s", timeout_s))
        age_s = _seconds(at, item, "age_s", 0.0)
        traceparent = checks.optional_text(f"{at}.traceparent", item.pop("traceparent", None))
    operation = admit(call.principal, call.gateway.settings, namespace, item, at=at)
    if age_s:
        operation = msgspec.structs.replace(operation, age_s=age_s)
    if traceparent is None:
        return await call.database._run(namespace, operation, timeout_s)
    return await _traced(call, namespace, operation, timeout_s, traceparent)


async def _traced(call: Call, namespace: str, operation: Operation, timeout_s: float, traceparent: str) -> Outcome:
    with remote_span(traceparent):
        return await call.database._run(namespace, operation, timeout_s)


_ENVELOPE = frozenset({"timeout_s", "age_s", "traceparent"})


def _seconds(at: str, item: dict[str, Any], name: str, default_s: float) -> float:
    found = item.pop(name, default_s)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < math.inf:
        raise ValidationError(f"{at}.{name}: expected a number of seconds", field=f"{at}.{name}")
    return float(found)
