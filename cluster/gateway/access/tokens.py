"""Bearer tokens (JWT): verified by PyJWT, with a key whose type fits, and remembered until they expire.

A token is looked at in this order, so that the cheap refusals come first and nothing in it is believed too early:
length, letters, header (algorithm allowed, nothing that would have us fetch or trust a key of its own), key, signature,
claims.

Source:
    RFC 7519 (JWT), RFC 8725 (best current practices).
"""

import binascii
import hashlib
import re
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import Any, Final

import jwt
import orjson

from parquedb.access.principal import Principal
from parquedb.clock import Clock
from parquedb.cluster.gateway.access.claims import principal_of
from parquedb.cluster.gateway.access.recent import Recent
from parquedb.cluster.gateway.access.verification_keys import KeySource, VerificationKey
from parquedb.errors import AuthenticationRequiredError, TokenExpiredError
from parquedb.settings.access import AccessSettings

REMEMBERED_S: Final = 60.0
"""Seconds after which a remembered token is verified again: for so long it outlives a key that was withdrawn."""

# No padding, no white space: one token has one spelling.
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
# Keys that a token brings along or points at, extensions that must be understood, and other encodings of the payload.
_REFUSED_FIELDS: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc"})
_KID_CHARS_MAX: Final = 256
_EXPIRED: Final = "the token has expired"
_UNREADABLE: Final = "it cannot be read"

_REASONS: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.MissingRequiredClaimError, "a claim is missing; exp, iss, aud and the subject are needed"),
    (jwt.InvalidIssuerError, "it is from another issuer"),
    (jwt.InvalidAudienceError, "it is for another audience"),
    (jwt.ImmatureSignatureError, "its time has not come"),
    (jwt.InvalidIssuedAtError, "iat must be a time"),
)


class TokenVerifier:
    """Verifies tokens of one issuer. Belongs to one event loop.

    Args:
        settings: Its `jwt_*` settings are honoured; `jwt_issuer` is given.
        sources: Where keys come from, in this order.
        clock: Tells when remembered tokens expire.
    """

    def __init__(self, settings: AccessSettings, sources: Sequence[KeySource], clock: Clock) -> None:
        self._settings = settings
        self._sources = sources
        self._clock = clock
        self._algorithms = frozenset(settings.jwt_algorithms)
        self._seen: Recent[bytes, tuple[Principal, float]] = Recent(settings.tokens_cached_max)

    async def principal(self, token: str) -> Principal:
        """Return whom a token speaks of.

        Raises:
            AuthenticationRequiredError: it is not valid; the message says in which respect and shows nothing of it.
            TokenExpiredError: it was.
            RpcUnavailableError: the issuer's keys cannot be had.
        """
        if len(token) > self._settings.jwt_bytes_max or not _SHAPE.fullmatch(token):
            raise _refusal(f"expected three parts in base64url, of {self._settings.jwt_bytes_max} characters at most")
        # By digest, so that memory holds no tokens.
        digest = hashlib.sha256(token.encode()).digest()
        seen = self._seen.get(digest)
        if seen is not None and self._clock.boot_s() < seen[1]:
            principal = seen[0]
            self._check_time(principal)
            return principal
        principal = principal_of(await self._claims(token), self._settings)
        self._seen.put(digest, (principal, self._clock.boot_s() + REMEMBERED_S))
        return principal

    async def close(self) -> None:
        """Let go of the sources of keys."""
        for source in self._sources:
            await source.close()

    def _check_time(self, principal: Principal) -> None:
        if (principal.expires_s or 0) + self._settings.jwt_leeway_s <= self._clock.now().timestamp():
            raise TokenExpiredError(_EXPIRED)

    async def _claims(self, token: str) -> dict[str, Any]:
        algorithm, kid = self._header(token)
        reason = "no key of ours fits it"
        for source in self._sources:
            for key in await source.candidates(algorithm, kid):
                claims = self._verified(token, key, algorithm)
                if claims is not None:
                    self._check_lifetime(claims)
                    return claims
                reason = "its signature is not"
        raise _refusal(reason)

    def _header(self, token: str) -> tuple[str, str | None]:
        """Return algorithm and key id that a token claims."""
        part = token.partition(".")[0]
        try:
            header = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (binascii.Error, orjson.JSONDecodeError):
            header = None
        if not isinstance(header, dict):
            raise _refusal("its header is not")
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _refusal("its algorithm is not allowed")
        if not _REFUSED_FIELDS.isdisjoint(header) or not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise _refusal("its header asks for what is not supported")
        if "kid" in header and not (isinstance(kid, str) and len(kid) <= _KID_CHARS_MAX):
            raise _refusal("its kid is not")
        return algorithm, kid

    def _verified(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, Any] | None:
        """Return the claims of a token; None if this key did not sign it."""
        settings = self._settings
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                leeway=settings.jwt_leeway_s,
                options={"require": ["exp", "iss", "aud", settings.jwt_subject_claim]},
            )
        except jwt.InvalidSignatureError:
            return None
        except jwt.ExpiredSignatureError:
            fault: AuthenticationRequiredError = TokenExpiredError(_EXPIRED)
        except jwt.PyJWTError as error:
            fault = _refusal(next((reason for kind, reason in _REASONS if isinstance(error, kind)), _UNREADABLE))
        except (ValueError, TypeError, OverflowError, RecursionError):
            # Claims that some releases of the library do not expect: Infinity as a time, a thousand brackets.
            fault = _refusal(_UNREADABLE)
        # Raised out here, so that an error which may quote the token is neither cause nor context of ours.
        raise fault

    def _check_lifetime(self, claims: dict[str, Any]) -> None:
        expires, issued, limit_s = claims["exp"], claims.get("iat"), self._settings.jwt_lifetime_max_s
        if isinstance(expires, bool) or not isinstance(expires, int | float):
            raise _refusal("exp must be a number")
        begins = self._clock.now().timestamp() - self._settings.jwt_leeway_s
        if isinstance(issued, int | float):
            begins = min(begins, issued)
        if expires - begins > limit_s + self._settings.jwt_leeway_s:
            raise _refusal(f"it is valid for longer than {limit_s:g} seconds")


def _refusal(reason: str) -> AuthenticationRequiredError:
    return AuthenticationRequiredError(f"the token is not valid: {reason}")
