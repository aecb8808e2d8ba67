"""`/metrics` for Prometheus: what owners and this process have counted, and this process's HTTP requests."""

import asyncio
import math
import time
from typing import Final

from starlette.responses import Response

from parquedb.cluster.gateway.answers import JSON, json_response
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.gateway import Gateway
from parquedb.cluster.overview.roll_call import ASK_TIMEOUT_S
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.prometheus.exposition import content_type, render
from parquedb.observability.prometheus.http_families import HttpRequestCollector
from parquedb.observability.prometheus.totals import RunningTotals

SCRAPE_TIMEOUT_HEADER: Final = "x-prometheus-scrape-timeout-seconds"
"""By which Prometheus says how long it waits."""

_SHARE: Final = 0.8
"""Of that time, for the owners; the rest is for making the text and sending it."""


class Scrapes:
    """Answers scrapes. Those that overlap share one look at the owners.

    Args:
        gateway: Whose database and requests are shown.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._totals = RunningTotals()
        self._gathering = asyncio.Lock()
        self._gathered: tuple[float, MetricsSnapshot] = (float("-inf"), MetricsSnapshot())

    async def answer(self, call: Call) -> Response:
        """Return both kinds of metrics, in the format that is asked for.

        Raises:
            PermissionDeniedError: the caller may not see metrics.
        """
        call.operation = "metrics"
        call.principal.permissions.check("metrics")
        accept = call.headers.get("accept", "")
        snapshot = await self._shared(call)
        if accept.partition(";")[0].strip() == JSON:
            # For a client of ours, which adds what it has counted itself.
            return json_response(snapshot.to_json())
        text = render(snapshot, accept, [HttpRequestCollector(self._gateway.counts)])
        return Response(text, media_type=content_type(accept))

    async def _shared(self, call: Call) -> MetricsSnapshot:
        """Return a snapshot that nobody began to gather before this request came."""
        async with self._gathering:
            began_s, snapshot = self._gathered
            if began_s < call.began_s:
                began_s = time.monotonic()
                counts = await self._gateway.database.metrics_by_process(timeout_s=patience_s(call))
                snapshot = self._totals.update(counts)
                self._gathered = began_s, snapshot
            return snapshot


def patience_s(call: Call) -> float:
    """Return how long owners may take to answer: one that is silent must not cost the numbers of all others."""
    try:
        waits_s = float(call.headers.get(SCRAPE_TIMEOUT_HEADER, ""))
    except ValueError:
        waits_s = math.inf
    # NaN and what is not positive say nothing.
    wanted_s = min(ASK_TIMEOUT_S, _SHARE * waits_s) if waits_s > 0 else ASK_TIMEOUT_S
    return min(call.left_s(), wanted_s)
