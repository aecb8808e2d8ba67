"""The way of operations to one namespace through a gateway: gathered, sent, repeated.

Coroutines of one loop share a link; threads share one on a loop in the background.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn
from urllib.parse import quote

from parquedb.actors.requests.operations import INSERT_ARROW, Operation, Outcome
from parquedb.cluster.http.background import BackgroundLoop
from parquedb.cluster.http.client import GatewayClient
from parquedb.cluster.http.delivery import GatewayDelivery
from parquedb.cluster.http.uploads import upload
from parquedb.cluster.http.wire import GatewayPart, join_parts, outcomes_of, value_of
from parquedb.cluster.reporting.accounts import Accounts
from parquedb.cluster.reporting.attempts import Attempts
from parquedb.cluster.transport.coalescer import LoopCoalescer
from parquedb.cluster.transport.lanes import SINGLE_WRITES, LaneBounds, is_quick, lane_bounds, queue_bounds
from parquedb.errors import ConfigurationError, ValidationError
from parquedb.ids import random_token
from parquedb.observability.brief import Brief
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.metrics.tally import Tally
from parquedb.observability.otel.propagation import Traceparents, current_packed
from parquedb.settings import Settings

JSON: Final = {"Content-Type": "application/json"}
TIMEOUT_MIN_S: Final = 0.001

OPERATIONS_MAX: Final = 2048
"""Operations of one request, whatever the settings say: a gateway takes no more than twice as many by default."""


_TOKEN_CHARS: Final = 22
_Lane = LoopCoalescer[GatewayPart]


async def insist(
    delivery: GatewayDelivery, send: Callable[[GatewayDelivery], Awaitable[Outcome]], attempts_max: int
) -> Outcome:
    """Send an operation until it has an answer.

    Args:
        delivery: Its state.
        send: Sends it once.
        attempts_max: Attempts where nothing can have been applied.

    Raises:
        ParqueDBError: the answer was a refusal, or there was none in time.
    """
    while True:
        try:
            outcome = await send(delivery)
        except Exception as error:  # noqa: BLE001 - `after_request` sorts them
            step = delivery.after_request(error, time.monotonic(), attempts_max=attempts_max)
            await asyncio.sleep(step.delay_s)
            continue
        if outcome.error is not None:
            raise delivery.final(outcome.error)
        return delivery.answered(outcome)


class HttpAsyncLink:
    """For the coroutines of one event loop."""

    actor: str | None = None

    def __init__(
        self,
        client: GatewayClient,
        settings: Settings,
        namespace: str,
        tally: Tally | None = None,
        hooks: HookRegistry | None = None,
    ) -> None:
        """Prepare on the running loop; nothing is sent yet."""
        self._attempts = Attempts(hooks or HookRegistry(), namespace, None)
        self._client = client
        self._settings = settings
        self._path = f"/v1/{quote(namespace, safe='')}"
        self._accounts = Accounts(tally, namespace, settings.log_slow_s)
        # Ids are this link's own: a forked child makes another one.
        self._requests = random_token(_TOKEN_CHARS)
        self._requests_made = 0
        self._write, self._read, self._alone = map(self._lane, lane_bounds(settings.client))

    def _lane(self, bounds: LaneBounds) -> _Lane:
        client = self._settings.client
        return LoopCoalescer(
            self._send_all,
            calls_max=bounds.calls_max,
            ops_max=min(bounds.ops_max, OPERATIONS_MAX),
            bytes_max=client.batch_bytes_max,
            queue=queue_bounds(client),
        )

    def brief_of(self, _operation: Operation) -> None:
        """Return that hooks are told of each operation as ever."""

    async def deliver(self, operation: Operation, timeout_s: float, _brief: Brief | None = None) -> Outcome:
        """Send an operation until it has an answer.

        Raises:
            ParqueDBError: the answer was a refusal, or there was none in time.
        """
        kind = operation.kind
        if kind == INSERT_ARROW:
            return await self._insist(operation, timeout_s, self._upload)
        lane = self._write if kind in SINGLE_WRITES else self._read if is_quick(operation) else self._alone

        async def send(delivery: GatewayDelivery) -> Outcome:
            lane.check(delivery.deadline_s)
            return await lane.submit(delivery.encoded(), delivery.deadline_s)

        return await self._insist(operation, timeout_s, send)

    async def ask(self, method: str, timeout_s: float) -> Any:
        """Ask for what the owner does or says as a whole, and may do twice; raises as `deliver`."""

        async def send(delivery: GatewayDelivery) -> Outcome:
            return await delivery.within_time(self._ask_once(method, delivery))

        return (await self._insist(Operation(method), timeout_s, send, counted=False)).value

    def handle(self) -> NoReturn:
        """Refuse: actors are behind the gateway.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "there is no actor handle behind a gateway; use the methods of the collection, or connect to the storage "
            "from inside the Ray cluster",
            setting="url",
        )

    async def _insist(
        self,
        operation: Operation,
        timeout_s: float,
        send: Callable[[GatewayDelivery], Awaitable[Outcome]],
        *,
        counted: bool = True,
    ) -> Outcome:
        delivery = GatewayDelivery(
            operation,
            now_s=time.monotonic(),
            timeout_s=timeout_s,
            span=current_packed(),
            attempts=self._attempts,
        )
        if delivery.needs_request:
            self._requests_made += 1
            delivery.request = f"{self._requests}-{self._requests_made}"
        answer: Outcome | None = None
        final: BaseException | None = None
        try:
            answer = await insist(delivery, send, self._settings.http.attempts_max)
        except BaseException as error:
            final = error
            raise
        finally:
            self._accounts.close(delivery, answer, final, operation if counted else None)
        return answer

    async def _send_all(self, parts: Sequence[GatewayPart]) -> list[Outcome]:
        """Send operations as one request; each for itself where one of them spoils it for all."""
        try:
            return await self._send(parts)
        except ValidationError as error:
            # Nested too deeply once it is tagged, or all of them together are too large a body.
            if len(parts) == 1:
                return [Outcome(error=error)]
            apart = [await self._send_all([part]) for part in parts]
            return [outcome for [outcome] in apart]

    async def _send(self, parts: Sequence[GatewayPart]) -> list[Outcome]:
        """Send one request, for which the gateway has as long as the most patient caller."""
        spans = Traceparents.of([part.traceparent for part in parts if part.traceparent is not None]).leading()
        answer = await self._client.fetch(
            "POST",
            f"{self._path}/operations",
            timeout_s=max(TIMEOUT_MIN_S, max(part.deadline_s for part in parts) - time.monotonic()),
            content=join_parts(parts),
            headers=JSON if spans is None else {**JSON, "traceparent": spans},
        )
        return self._client.read(answer, lambda answer: outcomes_of(answer, len(parts)))

    async def _upload(self, delivery: GatewayDelivery) -> Outcome:
        return await delivery.within_time(upload(self._client, self._path, delivery))

    async def _ask_once(self, method: str, delivery: GatewayDelivery) -> Outcome:
        answer = await self._client.fetch(
            "POST",
            f"{self._path}/{method}",
            timeout_s=delivery.left_s,
            content=b"{}",
            headers={**JSON, **delivery.trace_headers()},
        )
        return Outcome(self._client.read(answer, value_of))


class HttpLink:
    """For threads: the same, on a loop in the background.

    Args:
        loop: Where requests are made.
        made: Makes the link, on that loop.
    """

    actor: str | None = None

    def __init__(self, loop: BackgroundLoop, made: Callable[[], HttpAsyncLink]) -> None:
        self._loop = loop

        async def make() -> HttpAsyncLink:
            return made()

        self._link = loop.run(make)

    def brief_of(self, _operation: Operation) -> None:
        """Return what `HttpAsyncLink.brief_of` does."""

    def deliver(self, operation: Operation, timeout_s: float, _brief: Brief | None = None) -> Outcome:
        """Send an operation until it has an answer; raises as `HttpAsyncLink.deliver`."""
        return self._loop.run(lambda: self._link.deliver(operation, timeout_s))

    def ask(self, method: str, timeout_s: float) -> Any:
        """Ask as `HttpAsyncLink.ask` does."""
        return self._loop.run(lambda: self._link.ask(method, timeout_s))

    def handle(self) -> NoReturn:
        """Refuse, as `HttpAsyncLink.handle` does."""
        self._link.handle()
