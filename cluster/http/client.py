"""Requests to a gateway from one event loop: connections, credentials, and what can go wrong on the way."""

import asyncio
import builtins
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Container, Mapping
from typing import Any, Final, TypeVar

import httpx

from parquedb.cluster.http.answers import Answer, NoAnswer, refusal
from parquedb.cluster.http.credentials import Credentials
from parquedb.errors import ConfigurationError, ErrorCode, RpcError, RpcUnavailableError
from parquedb.observability.otel.version import VERSION
from parquedb.settings.http import HttpSettings
from parquedb.storage.backends.retry import RetryBudget

T = TypeVar("T")

REQUESTS_SAVED: Final = 64.0
"""Repeats of requests that a process may have saved up; what it begins with."""

_GRACE_S: Final = 1.0
"""Seconds beyond a request's time in which the gateway's own word on it may arrive."""

SUCCESSES: Final = range(200, 300)
_UNAUTHORIZED: Final = 401
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)

Content = bytes | Callable[[], AsyncIterator[bytes]]
"""A body, or what makes it anew for each attempt."""


class GatewayClient:
    """Sends requests to one gateway. Belongs to the event loop on which it is first used.

    Args:
        url: Of the gateway.
        settings: Trust and limits.
        credentials: Who the caller says he is.
        trust: Made by `trusted`.
        budget: Pays for repeated requests; shared by all clients of a connection.
    """

    def __init__(
        self, url: str, settings: HttpSettings, credentials: Credentials, trust: ssl.SSLContext, budget: RetryBudget
    ) -> None:
        self._url = url
        self._settings = settings
        self._credentials = credentials
        self._budget = budget
        self._http = httpx.AsyncClient(
            verify=trust,
            limits=httpx.Limits(
                max_connections=settings.connections_max,
                max_keepalive_connections=settings.connections_max,
                keepalive_expiry=settings.keepalive_s,
            ),
            # What leads elsewhere would get the token.
            follow_redirects=False,
            # A proxy of the environment is for other machines than this one.
            trust_env=not is_loopback(httpx.URL(url).host),
            headers={"User-Agent": f"parquedb-python/{VERSION}", "Accept-Encoding": "identity"},
        )

    async def fetch(  # noqa: PLR0913 - an HTTP request has as many parts
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        good: Container[int] = SUCCESSES,
    ) -> Answer:
        """Send a request once, twice where a token had expired, and return its answer.

        Args:
            method: HTTP method.
            path: Below the gateway's address, encoded.
            timeout_s: Seconds for all of it, which the gateway is told.
            content: The body.
            headers: Besides those that every request has.
            good: Statuses of answers that are returned.

        Raises:
            NoAnswer: there is no answer of the gateway's.
            ParqueDBError: it refused, and nothing was applied.
        """
        shown = await self._credentials.headers()
        asked = {"Request-Timeout": f"{timeout_s:.3f}", **(headers or {})}
        answer = await self._once(method, path, timeout_s, content, {**asked, **shown})
        if answer.status == _UNAUTHORIZED and await self._credentials.renewed(shown):
            answer = await self._once(method, path, timeout_s, content, {**asked, **await self._credentials.headers()})
        if answer.status in good:
            self._budget.earn()
            return answer
        error = refusal(answer)
        raise self.paid(error) if isinstance(error, NoAnswer) else error

    def read(self, answer: Answer, reader: Callable[[Answer], T]) -> T:
        """Return what a 2xx answer says; raises what `reader` does, a `NoAnswer` paid for."""
        try:
            return reader(answer)
        except NoAnswer as lost:
            raise self.paid(lost) from lost.__cause__

    def paid(self, lost: NoAnswer) -> NoAnswer:
        """Return a loss whose repeat has been paid for, or that is not to be repeated."""
        lost.repeatable = lost.repeatable and self._budget.spend()
        return lost

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _once(
        self, method: str, path: str, timeout_s: float, content: Content | None, headers: Mapping[str, str]
    ) -> Answer:
        if self._http.is_closed:
            raise NoAnswer(RpcUnavailableError("this database has been closed"), sent=False, repeatable=False)
        limits = httpx.Timeout(timeout_s + _GRACE_S, connect=min(timeout_s, self._settings.connect_timeout_s))
        body = content() if callable(content) else content
        request = self._http.build_request(method, self._url + path, content=body, headers=headers, timeout=limits)
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):
                response = await self._http.send(request, stream=True)
                try:
                    fields = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(response.status_code, fields, await self._read(response))
                finally:
                    await response.aclose()
        except _NOT_SENT as error:
            # Whom the client cannot trust now, it cannot trust in a second.
            raise self.paid(
                NoAnswer(self._unreachable(error), sent=False, repeatable=not _is_distrust(error))
            ) from error
        except (httpx.TransportError, httpx.DecodingError, builtins.TimeoutError, OSError) as error:
            message = f"the answer of the gateway at {self._url} was lost: {_named(error)}"
            raise self.paid(NoAnswer(RpcUnavailableError(message, cause=error), sent=True, repeatable=True)) from error

    async def _read(self, response: httpx.Response) -> bytes:
        parts: list[bytes] = []
        size, size_max = 0, self._settings.answer_bytes_max
        async for part in response.aiter_bytes():
            size += len(part)
            if size > size_max:
                error = RpcError(
                    f"the answer of the gateway has more than {size_max:,} bytes".replace(",", " "),
                    code=ErrorCode.RPC_INVALID_RESPONSE,
                    status=response.status_code,
                )
                raise NoAnswer(error, sent=True, repeatable=False)
            parts.append(part)
        return b"".join(parts)

    def _unreachable(self, error: Exception) -> RpcUnavailableError:
        return RpcUnavailableError(f"the gateway at {self._url} cannot be reached: {_named(error)}", cause=error)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: by an address, or by the one name that means it everywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trusted(settings: HttpSettings) -> ssl.SSLContext:
    """Return what decides which gateways are trusted, with the client's own certificate if it has one.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise _unusable("ca_file", settings.ca_file, error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert is not None:
        try:
            context.load_cert_chain(settings.client_cert, settings.client_key)
        except (OSError, ValueError) as error:
            raise _unusable("client_cert", settings.client_cert, error) from error
    return context


def _unusable(name: str, path: Any, error: Exception) -> ConfigurationError:
    message = f"http.{name}: {path!r} cannot be used: {type(error).__name__}: {error}"
    return ConfigurationError(message, setting=f"http.{name}", cause=error)


def _is_distrust(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _named(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
