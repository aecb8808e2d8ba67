"""The authenticator of a gateway: tokens and API keys, whichever of them the settings accept."""

from typing import Final

from parquedb.access.principal import Principal
from parquedb.clock import Clock, SystemClock
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.access.api_key_verifier import ApiKeyVerifier
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.cluster.gateway.access.authenticator import Anonymous, Authenticator
from parquedb.cluster.gateway.access.credentials import API_KEY_PREFIX, bearer
from parquedb.cluster.gateway.access.jwks import PublishedKeys
from parquedb.cluster.gateway.access.tokens import TokenVerifier
from parquedb.cluster.gateway.access.verification_keys import ConfiguredKeys, KeySource, public_keys, secret_key
from parquedb.errors import AuthenticationRequiredError, ConfigurationError, ErrorCode
from parquedb.observability.logs.redaction import redactor
from parquedb.settings.access import AccessSettings

_SETTING: Final = "PARQUEDB_GATEWAY__ACCESS__"


class Callers:
    """Tells callers by a bearer token or an API key.

    Args:
        tokens: Verifies tokens; None where they are not accepted.
        keys: The same of API keys.
    """

    def __init__(self, tokens: TokenVerifier | None, keys: ApiKeyVerifier | None) -> None:
        self._tokens = tokens
        self._keys = keys

    async def authenticate(self, authorization: str | None, api_key: str | None) -> Principal:
        """Return who sends a request; see `Authenticator`."""
        if authorization is not None:
            if api_key is not None:
                raise AuthenticationRequiredError("expected one proof of identity: Authorization or X-API-Key")
            proof = bearer(authorization)
        elif api_key is not None:
            proof = api_key
        else:
            raise AuthenticationRequiredError("expected Authorization: Bearer <token or API key>, or X-API-Key")
        if api_key is not None or proof.startswith(API_KEY_PREFIX):
            if self._keys is None:
                raise AuthenticationRequiredError("API keys are not accepted here")
            return await self._keys.principal(proof)
        if self._tokens is None:
            raise AuthenticationRequiredError("bearer tokens are not accepted here, but for API keys")
        return await self._tokens.principal(proof)

    async def close(self) -> None:
        """Let go of connections and tasks."""
        for one in (self._tokens, self._keys):
            if one is not None:
                await one.close()


def build_authenticator(
    settings: AccessSettings, database: AsyncDatabase, *, production: bool, clock: Clock | None = None
) -> Authenticator:
    """Return what tells the callers of a gateway.

    Args:
        settings: What it accepts.
        database: Where API keys are.
        production: Whether to refuse to serve everybody.
        clock: The system's when None.

    Raises:
        ConfigurationError: nobody would have to say who they are, in production; or a key cannot be used, or is missing
            because the settings travelled without it.
    """
    clock = clock or SystemClock()
    if settings.withheld:
        raise ConfigurationError(
            f"the secrets of {_SETTING}JWT_SECRETS did not come along; set it where the gateway runs",
            code=ErrorCode.MISSING_CONFIG,
            setting=f"{_SETTING}JWT_SECRETS",
        )
    # Whatever is logged from now on is without them.
    redactor.hide(*settings.reveal_jwt_secrets())
    if not settings.authenticates:
        if production:
            raise ConfigurationError(
                f"a gateway in production has to know its callers: set {_SETTING}JWT_JWKS_URL, JWT_PUBLIC_KEYS, "
                "JWT_SECRETS or API_KEYS=true",
                code=ErrorCode.MISSING_CONFIG,
                setting=f"{_SETTING}API_KEYS",
            )
        return Anonymous()
    tokens = TokenVerifier(settings, _sources(settings, clock), clock) if settings.jwt else None
    keys = ApiKeyVerifier(ApiKeys(database, clock), settings, clock) if settings.api_keys else None
    return Callers(tokens, keys)


def _sources(settings: AccessSettings, clock: Clock) -> list[KeySource]:
    configured = [secret_key(secret.get_secret_value()) for secret in settings.jwt_secrets]
    if settings.jwt_public_keys:
        configured += public_keys(settings.jwt_public_keys, f"{_SETTING}JWT_PUBLIC_KEYS")
    sources: list[KeySource] = [ConfiguredKeys(configured)] if configured else []
    if settings.jwt_jwks_url:
        sources.append(PublishedKeys(settings.jwt_jwks_url, settings, clock))
    return sources
