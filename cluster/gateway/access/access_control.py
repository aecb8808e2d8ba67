"""Letting a caller in: who it is, and whether it has asked too often. What HTTP says about that is here as well.

Source:
    RFC 6750 (bearer tokens), RFC 9110, section 10.2.3 (Retry-After),
    draft-ietf-httpapi-ratelimit-headers-11 (RateLimit, RateLimit-Policy).
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from parquedb.access.principal import Principal
from parquedb.clock import Clock, SystemClock
from parquedb.cluster.gateway.access.addresses import caller_address
from parquedb.cluster.gateway.access.authenticator import Authenticator
from parquedb.cluster.gateway.access.credentials import credentials_in
from parquedb.cluster.gateway.access.rates import Rates, Standing
from parquedb.cluster.gateway.access.recent import Recent
from parquedb.errors import AuthenticationRequiredError, ParqueDBError, RateLimitedError, TokenExpiredError
from parquedb.observability.logs import get_logger
from parquedb.settings.access import AccessSettings

_LOG: Final = get_logger("cluster.gateway.access.access_control")
_CHALLENGE: Final = 'Bearer realm="parquedb"'
_PROVEN_S: Final = 3600.0
"""Seconds for which a proof that was good once is looked at however many others from its address are not."""


class Admitted(NamedTuple):
    """A caller that was let in.

    Attributes:
        principal: Who it is.
        headers: What the answer says of its rate.
    """

    principal: Principal
    headers: Mapping[str, str]


class Refused(Exception):  # noqa: N818 - a turn of control that ends as an answer, and never reaches a user
    """A caller was not let in.

    Attributes:
        error: Why.
        headers: What the answer says beside it.
    """

    def __init__(self, error: ParqueDBError, headers: Mapping[str, str]) -> None:
        super().__init__(error)
        self.error = error
        self.headers = headers


class AccessControl:
    """Lets callers in, at one replica. Belongs to one event loop.

    Every replica counts for itself: over all of them a caller may do as many times its quota as there are replicas.

    Args:
        authenticator: Tells who they are.
        settings: How often they may come.
        clock: What rates are measured with.
    """

    def __init__(self, authenticator: Authenticator, settings: AccessSettings, clock: Clock | None = None) -> None:
        self._authenticator = authenticator
        self._settings = settings
        self._clock = clock or SystemClock()
        self._rates = Rates(settings.rate_requests, settings.rate_window_s, settings.callers_max)
        self._failures = Rates(settings.failures_max, settings.failures_window_s, settings.callers_max)
        # By their hashes, which Python keys at random: a proof cannot be told from one.
        self._proven: Recent[int, float] = Recent(settings.callers_max)

    async def admit(self, scope: Mapping[str, Any]) -> Admitted:
        """Let the sender of a request in.

        Args:
            scope: Of ASGI, for HTTP.

        Raises:
            Refused: it did not prove who it is, or has asked too often.
            ParqueDBError: who it is cannot be found out at present.
        """
        client = scope.get("client")
        address = caller_address(client[0] if client else None, scope["headers"], self._settings.proxies)
        principal = await self._identify(address, scope["headers"])
        if principal.authenticated_by == "none":
            return Admitted(principal, {})
        caller = (principal.authenticated_by, principal.subject)
        standing = self._rates.take(caller, self._clock.boot_s(), principal.requests_max)
        if not standing.allowed:
            raise _too_often("too many requests", standing, self._settings.rate_window_s)
        return Admitted(principal, _rate_fields(standing, self._settings.rate_window_s))

    async def close(self) -> None:
        """Let go of what the authenticator holds."""
        await self._authenticator.close()

    async def _identify(self, address: str, headers: list[tuple[bytes, bytes]]) -> Principal:
        proof = None
        try:
            authorization, api_key = credentials_in(headers)
            proof = None if authorization is api_key is None else hash((authorization, api_key))
            if proof is not None:
                self._check_failures(address, proof)
            principal = await self._authenticator.authenticate(authorization, api_key)
        except AuthenticationRequiredError as error:
            # Neither nothing at all nor what was good yesterday is a guess.
            guessed = proof is not None and not isinstance(error, TokenExpiredError)
            if guessed:
                self._failures.take(address, self._clock.boot_s())
            _LOG.info("a caller at %s was refused: %s", address, error)
            challenge = _CHALLENGE if proof is None else f'{_CHALLENGE}, error="invalid_token"'
            raise Refused(error, {"WWW-Authenticate": challenge}) from None
        if proof is not None:
            self._proven.put(proof, self._clock.boot_s())
        return principal

    def _check_failures(self, address: str, proof: int) -> None:
        """Refuse an address that has guessed too often, but none that shares it and has proved itself before."""
        standing = self._failures.look(address, self._clock.boot_s())
        if standing.allowed:
            return
        proven_s = self._proven.get(proof)
        if proven_s is None or self._clock.boot_s() - proven_s > _PROVEN_S:
            raise _too_often("too many refused proofs of identity from this address", standing)


def _too_often(message: str, standing: Standing, window_s: float | None = None) -> Refused:
    error = RateLimitedError(message, retry_after=standing.retry_s)
    fields = {} if window_s is None else _rate_fields(standing, window_s)
    return Refused(error, {**fields, "Retry-After": str(max(1, math.ceil(standing.retry_s)))})


def _rate_fields(standing: Standing, window_s: float) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"requests";q={standing.quota};w={math.ceil(window_s)}',
        "RateLimit": f'"requests";r={standing.left};t={math.ceil(standing.full_s)}',
    }
