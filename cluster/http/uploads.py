"""Bulk loads through a gateway: Arrow data as the body of a request."""

from typing import Final
from urllib.parse import urlencode

from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.http.answers import Answer, data_of, unreadable
from parquedb.cluster.http.client import GatewayClient
from parquedb.cluster.http.delivery import GatewayDelivery
from parquedb.cluster.transport.sessions import request_id_text

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"


async def upload(client: GatewayClient, path: str, delivery: GatewayDelivery) -> Outcome:
    """Send one `insert_arrow`, under its request id.

    Raises:
        NoAnswer: nobody knows what became of it.
        ParqueDBError: it was refused.
    """
    operation, request = delivery.operation, delivery.request
    headers = {"Content-Type": ARROW_STREAM, **delivery.trace_headers()}
    if request is not None:
        headers["Idempotency-Key"] = request_id_text(request)
    query = urlencode({name: value for name, value in operation.options.items() if name in {"id_column", "actor"}})
    answer = await client.fetch(
        "POST",
        f"{path}/import?{query}" if query else f"{path}/import",
        timeout_s=delivery.left_s,
        content=operation.body["ipc"],
        headers=headers,
    )
    return client.read(answer, _stored)


def _stored(answer: Answer) -> Outcome:
    rows = data_of(answer).get("rows")
    if type(rows) is not int:
        raise unreadable(answer, "it does not say how many rows were stored")
    return Outcome({"rows": rows})
