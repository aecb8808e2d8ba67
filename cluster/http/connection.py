"""A database behind an HTTP gateway, as one process uses it.

A client for each event loop, one of them on a loop in the background for all threads; credentials, trust and the budget
of repeats are shared. Nothing here needs Ray.
"""

import asyncio
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from parquedb.actors.requests.arguments import check_timeout
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.cluster.client.connection import AsyncLink, Connection, Link
from parquedb.cluster.http.answers import Answer
from parquedb.cluster.http.background import BackgroundLoop
from parquedb.cluster.http.client import REQUESTS_SAVED, SUCCESSES, GatewayClient, is_loopback, trusted
from parquedb.cluster.http.credentials import Credentials, TokenProvider, portable
from parquedb.cluster.http.delivery import GatewayDelivery
from parquedb.cluster.http.link import HttpAsyncLink, HttpLink, insist
from parquedb.cluster.http.overview import health_of, metrics_of, namespaces_of
from parquedb.cluster.overview.health import DatabaseHealth
from parquedb.cluster.transport.credentials import Credentials as Grants
from parquedb.errors import ConfigurationError, InvalidInputError
from parquedb.observability.logs.redaction import redactor
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.otel.propagation import current_packed
from parquedb.settings import Settings, env_name
from parquedb.settings.environment import load_settings
from parquedb.storage.backends.retry import RetryBudget

T = TypeVar("T")

ASK_TIMEOUT_S: Final = 5.0
"""Seconds for a question about the whole database, unless the caller says otherwise."""

READY: Final = "/ready"

_UNAVAILABLE: Final = 503
_CLOSE_S: Final = 2.0
_ELSEWHERE: Final = frozenset(
    {
        "access",
        "endpoint_url",
        "engine",
        "key",
        "ray_address",
        "ray_namespace",
        "region",
        "secret",
        "storage",
        "worker_logs",
    }
)
"""Settings of the other side; a caller who gives one expects something that does not happen."""

_INSTEAD: Final[Mapping[str, str]] = {
    "backup": "run `parquedb backup <url of the storage> <target>` where the storage can be reached",
    "snapshot": "read with find(as_of=...) or export_file, which the gateway serves as of one moment",
    "verify": "run `parquedb verify <url of the storage>` where the storage can be reached",
}


class HttpConnection(Connection):
    """One database behind a gateway. Threads and event loops may share it.

    Args:
        settings: With the URL of the gateway.
        hook_objects: Run here only.
        token_provider: Returns tokens; see `connect`.
    """

    def __init__(
        self,
        settings: Settings,
        hook_objects: Iterable[object] = (),
        token_provider: TokenProvider | None = None,
    ) -> None:
        self._hook_objects = tuple(hook_objects)
        self._provider = token_provider
        self._credentials = Credentials(settings.token, settings.api_key, token_provider)
        _check_privacy(settings, self._credentials)
        self._trust = trusted(settings.http)
        redactor.hide_fields(settings.log_redact)
        super().__init__(settings, self._hook_objects)
        self._budget = RetryBudget(settings.http.retry_budget_ratio, tokens_max=REQUESTS_SAVED)
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, GatewayClient] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._background = BackgroundLoop()

    @classmethod
    def opened(
        cls,
        settings: Settings,
        hook_objects: Iterable[object],
        token_provider: TokenProvider | None,
        given: Iterable[str] = (),
    ) -> Self:
        """Return a connection; the gateway is met by the first call, so that it may start later than its callers.

        Args:
            settings: All of them.
            hook_objects: Run here only.
            token_provider: See `connect`.
            given: Names of the settings that the caller has given by himself.

        Raises:
            ConfigurationError: a setting cannot be used.
        """
        for name in sorted(_ELSEWHERE & set(given)):
            raise ConfigurationError(f"{name}: is a setting of the gateway's, not of its clients", setting=name)
        return cls(settings, hook_objects, token_provider)

    def join(self) -> None:
        """Check that the database has not been closed."""
        if self.closed:
            raise InvalidInputError("this database has been closed; call connect() again")

    def leave(self) -> None:
        """Close all connections of this process."""
        super().leave()
        with self._lock:
            clients = dict(self._clients)
            self._clients.clear()
        for loop, client in clients.items():
            # A loop that does not run any more has closed them, or will when it is collected.
            if loop.is_running():
                ending = asyncio.run_coroutine_threadsafe(client.close(), loop)
                _settled(ending.result, _CLOSE_S)
        self._background.stop()

    def recipe(self) -> tuple[Callable[..., Connection], tuple[Any, ...]]:
        """Return what another process makes this connection of; tokens and keys it takes from its environment.

        Raises:
            ConfigurationError: the hooks do not pickle.
        """
        try:
            hooks = pickle.dumps(self._hook_objects)
        except Exception as error:
            message = f"the hooks do not pickle: {type(error).__name__}: {error}; give them as 'module:attribute'"
            raise ConfigurationError(message, setting="hooks") from error
        return rebuilt_connection, (self.settings, hooks, portable(self._provider))

    def link(self, namespace: str, credentials: Grants, _like: Link | None = None) -> HttpLink:
        """Return a way to a namespace for threads; the gateway shows grants of its own."""
        return HttpLink(self._background, lambda: self.async_link(namespace, credentials))

    def async_link(self, namespace: str, _credentials: Grants, _like: AsyncLink | None = None) -> HttpAsyncLink:
        """Return a way to a namespace for the running event loop."""
        return HttpAsyncLink(self._client(), self.settings, namespace, self.tally, self.hooks)

    def namespaces(self) -> list[str]:
        """List the namespaces that the caller may read, sorted."""
        return self._ask("namespaces", "/v1", None, namespaces_of)

    def health(self, timeout_s: float | None = None) -> DatabaseHealth:
        """Ask the gateway how it and every owner is."""
        return self._ask("health", READY, check_timeout(timeout_s, ASK_TIMEOUT_S), health_of)

    def metrics(self, timeout_s: float | None, namespaces_max: int, _grant: str | None = None) -> MetricsSnapshot:
        """Return what the gateway and every owner have counted, and this process as their client.

        Raises:
            InvalidInputError: `namespaces_max` is not at least 1.
        """
        if namespaces_max < 1:
            raise InvalidInputError(f"namespaces_max must be at least 1, not {namespaces_max!r}")
        found = self.metrics_by_process(timeout_s, owners=True)
        return MetricsSnapshot.merge(*found.values()).limited(namespaces_max)

    def metrics_by_process(
        self, timeout_s: float | None, owners: bool, _grant: str | None = None
    ) -> dict[str, MetricsSnapshot]:
        """Return what this process has counted, and under `gateway` the sum of everything behind it."""
        limit_s = check_timeout(timeout_s, ASK_TIMEOUT_S)
        if not owners:
            return {"": self.counted()}
        return {"": self.counted(), "gateway": self._ask("metrics", "/metrics", limit_s, metrics_of)}

    def survey(self, timeout_s: float, grant: str | None = None) -> NoReturn:  # noqa: ARG002 - the seam
        """Refuse.

        Raises:
            ConfigurationError: always; the gateway shows what it sees at `/console`.
        """
        raise ConfigurationError("a database behind a gateway is looked at there: open its /console", setting="url")

    def open_storage(self, purpose: str) -> NoReturn:
        """Refuse: storage is behind the gateway."""
        self.require_storage(purpose)

    def require_storage(self, method: str) -> NoReturn:
        """Refuse: storage is behind the gateway.

        Raises:
            ConfigurationError: always; says what to use instead.
        """
        instead = _INSTEAD.get(method, "connect to the storage itself")
        raise ConfigurationError(f"{method} reads the storage itself, which is behind a gateway here; {instead}")

    def require_grants(self, method: str) -> NoReturn:
        """Refuse: a gateway decides by the token or the key that it is shown.

        Raises:
            ConfigurationError: always; says what to use instead.
        """
        raise ConfigurationError(
            f"{method} makes use of grants, which a gateway does not take; connect with a token or an API key that may "
            "do no more than is wanted"
        )

    def _client(self) -> GatewayClient:
        """Return the client of the running loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._clients.get(loop)
            if client is None:
                client = self._clients[loop] = GatewayClient(
                    self.settings.url, self.settings.http, self._credentials, self._trust, self._budget
                )
            return client

    def _ask(self, method: str, path: str, timeout_s: float | None, reader: Callable[[Answer], T]) -> T:
        """Ask about the whole database, from any thread."""
        self.join()
        limit_s = self.settings.client.timeout_s if timeout_s is None else timeout_s

        async def asked() -> Outcome:
            delivery = GatewayDelivery(
                Operation(method), now_s=time.monotonic(), timeout_s=limit_s, span=current_packed()
            )
            return await insist(delivery, send, self.settings.http.attempts_max)

        async def send(delivery: GatewayDelivery) -> Outcome:
            return await delivery.within_time(self._asked_once(path, delivery, reader))

        value: T = self._background.run(asked).value
        return value

    async def _asked_once(self, path: str, delivery: GatewayDelivery, reader: Callable[[Answer], T]) -> Outcome:
        client = self._client()
        headers = {"Accept": "application/json", **delivery.trace_headers()}
        # Whoever is unhealthy says so with 503, and why.
        good = {*SUCCESSES, _UNAVAILABLE} if path == READY else SUCCESSES
        answer = await client.fetch("GET", path, timeout_s=delivery.left_s, headers=headers, good=good)
        return Outcome(client.read(answer, reader))

    def __repr__(self) -> str:
        return f"HttpConnection({self.settings.url!r})"


def rebuilt_connection(settings: Settings, hooks: bytes, provider: TokenProvider | None) -> HttpConnection:
    """Make a connection again from what `recipe` gave, with the secrets of this process's environment."""
    own = load_settings(settings.url)
    # A provider says it all; a token of the environment beside it may be somebody else's.
    token = None if provider is not None else own.token
    secrets = {"token": token, "api_key": own.api_key}
    objects = pickle.loads(hooks)  # noqa: S301 - part of a pickle that is being read already
    return HttpConnection(settings.model_copy(update=secrets), objects, provider)


def _check_privacy(settings: Settings, credentials: Credentials) -> None:
    """Refuse to send over a network in the clear what others shall not read."""
    parts = urlsplit(settings.url)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        return
    if credentials.any:
        message = f"url {settings.url!r}: a token or a key is sent over https:// only, or within this machine"
        raise ConfigurationError(message, setting=env_name("url"))
    if not settings.http.allow_http:
        message = f"url {settings.url!r}: expected https://, or http.allow_http=True where nobody else can read it"
        raise ConfigurationError(message, setting=env_name("url"))


def _settled(result: Callable[[float], Any], timeout_s: float) -> None:
    """Wait for something that may fail without consequences."""
    try:
        result(timeout_s)
    except Exception:  # noqa: BLE001 - connections that cannot be closed in order are closed all the same
        return
