"""The settings of a gateway about its callers: tokens, API keys, rates, browsers, TLS."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from parquedb.settings.groups import SettingsGroup, at_most

ALGORITHMS: Final = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Signatures that can be asked for. `none` is not among them and cannot be."""

TENANT: Final = "{tenant}"
TENANT_CHARACTERS: Final = r"A-Za-z0-9_.\-"
SECRET_BYTES_MIN: Final = 32

_LISTS: Final = ("jwt_algorithms", "jwt_audience", "jwt_tenant_permissions", "cors_origins")
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")


class AccessSettings(SettingsGroup):
    """Who may call a gateway, how it is recognized, and how often it may call."""

    jwt_secrets: tuple[SecretStr, ...] = Field(
        default=(),
        max_length=8,
        description="Secrets that tokens are signed with (HS*), separated by commas: the new one beside the old one.",
    )
    jwt_public_keys: str | None = Field(
        default=None,
        max_length=65_536,
        description="Public keys in PEM form, one after the other (RS*, PS*, ES*, EdDSA).",
    )
    jwt_jwks_url: str | None = Field(
        default=None, description="Where the issuer publishes its keys (JWKS); https, or this machine."
    )
    jwt_algorithms: tuple[str, ...] = Field(
        default=ALGORITHMS, min_length=1, description="Signatures that are accepted, each only with keys of its type."
    )
    jwt_issuer: str | None = Field(default=None, min_length=1, max_length=2048, description="`iss` of every token.")
    jwt_audience: tuple[str, ...] = Field(
        default=(), max_length=16, description="`aud` of every token is, or holds, one of these."
    )
    jwt_leeway_s: float = Field(default=30, ge=0, le=300, description="Seconds that clocks may differ.")
    jwt_lifetime_max_s: float = Field(
        default=86_400, ge=1, le=31_536_000, description="Seconds for which a token may be valid in all."
    )
    jwt_bytes_max: int = Field(default=8192, ge=256, le=65_536, description="Length of a token, bytes.")
    jwt_subject_claim: str = Field(default="sub", min_length=1, max_length=200, description="Claim with the name.")
    jwt_permissions_claim: str = Field(
        default="permissions", min_length=1, max_length=200, description="Claim with permissions: a list, or one text."
    )
    jwt_tenant_claim: str | None = Field(
        default=None, min_length=1, max_length=200, description="Claim with the name of a tenant."
    )
    jwt_tenant_permissions: tuple[str, ...] = Field(
        default=("*:{tenant}-*",), max_length=100, description="What a tenant may do; only with jwt_tenant_claim."
    )
    jwks_refresh_s: float = Field(default=300, ge=1, le=86_400, description="Seconds between looks at the JWKS.")
    jwks_stale_s: float = Field(
        default=3600,
        ge=1,
        le=604_800,
        description="Seconds for which the last keys are used while the JWKS cannot be had.",
    )
    jwks_retry_s: float = Field(
        default=10,
        ge=1,
        le=3600,
        description="Seconds between fetches for the sake of unknown key ids or after failure.",
    )
    jwks_timeout_s: float = Field(default=5, ge=0.01, le=60, description="Seconds for one fetch of the JWKS.")
    jwks_bytes_max: int = Field(default=262_144, ge=1024, le=4_194_304, description="Length of a JWKS, bytes.")
    jwks_keys_max: int = Field(default=64, ge=1, le=1000, description="Keys in a JWKS.")
    tokens_cached_max: int = Field(default=10_000, ge=0, le=1_000_000, description="Verified tokens remembered.")

    api_keys: bool = Field(default=False, description="Whether API keys kept in the database are accepted.")
    api_key_cache_s: float = Field(
        default=5, ge=0, le=10, description="Seconds after which the revocation of a key is noticed at the latest."
    )
    api_keys_cached_max: int = Field(default=10_000, ge=1, le=1_000_000, description="API keys remembered.")

    rate_requests: int = Field(
        default=10_000, ge=1, le=100_000_000, description="Requests of one caller in `rate_window_s`, at each replica."
    )
    rate_window_s: float = Field(
        default=10, ge=1, le=86_400, description="Seconds over which `rate_requests` are counted."
    )
    failures_max: int = Field(
        default=30, ge=1, le=1_000_000, description="Refused proofs of identity from one address in failures_window_s."
    )
    failures_window_s: float = Field(
        default=60, ge=1, le=86_400, description="Seconds for which refused proofs are counted."
    )
    callers_max: int = Field(default=100_000, ge=1, le=10_000_000, description="Callers whose rates are remembered.")
    proxies: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Proxies of ours in front, each of which adds an address to X-Forwarded-For; 0 ignores that field.",
    )

    cors_origins: tuple[str, ...] = Field(
        default=(), max_length=1000, description="Origins whose pages may call, such as https://app.example.com."
    )
    cors_max_age_s: int = Field(default=600, ge=0, le=86_400, description="Seconds that a preflight is remembered.")
    tls_certificate: str | None = Field(default=None, description="File with the certificate and its chain, PEM.")
    tls_key: str | None = Field(default=None, description="File with the private key of the certificate, PEM.")
    tls_key_password: SecretStr | None = Field(default=None, description="Password of the file with the private key.")
    tls_client_ca: str | None = Field(
        default=None, description="File with the authorities whose client certificates are demanded, PEM."
    )
    tls_in_front: bool = Field(default=False, description="Whether a proxy in front speaks TLS with callers.")
    hsts_s: int = Field(
        default=31_536_000,
        ge=0,
        le=63_072_000,
        description="Seconds that browsers shall insist on TLS; 0 says nothing.",
    )

    def __getstate__(self) -> dict[Any, Any]:
        """Leave secrets out: a pickle is copied, stored and logged by programs that know nothing of secrets.

        Empty ones stand in their places, so that whoever unpickles this neither forgets that there are some nor accepts
        a token by one.
        """
        state = super().__getstate__()
        hidden = {
            "jwt_secrets": (SecretStr(""),) * len(self.jwt_secrets),
            "tls_key_password": None if self.tls_key_password is None else SecretStr(""),
        }
        return {**state, "__dict__": {**state["__dict__"], **hidden}}

    @property
    def withheld(self) -> bool:
        """Whether these settings came out of a pickle, and lack the secrets that tokens are checked with."""
        return any(not secret.get_secret_value() for secret in self.jwt_secrets)

    def reveal_jwt_secrets(self) -> tuple[str, ...]:
        """Return these secrets as text, to hand them to an actor of our own."""
        return tuple(secret.get_secret_value() for secret in self.jwt_secrets)

    def with_jwt_secrets(self, secrets: Iterable[str]) -> Self:
        """Return these settings with the secrets put back in."""
        return self.model_copy(update={"jwt_secrets": tuple(SecretStr(secret) for secret in secrets)})

    @property
    def jwt(self) -> bool:
        """Whether tokens are accepted at all."""
        return bool(self.jwt_secrets or self.jwt_public_keys or self.jwt_jwks_url)

    @property
    def authenticates(self) -> bool:
        """Whether callers have to say who they are."""
        return self.jwt or self.api_keys

    @field_validator("jwt_secrets", *_LISTS, mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("jwt_secrets")
    @classmethod
    def _long_enough(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value().encode()) < SECRET_BYTES_MIN for secret in secrets):
            raise ValueError(f"expected secrets of at least {SECRET_BYTES_MIN} bytes")
        return secrets

    @field_validator("jwt_algorithms")
    @classmethod
    def _known(cls, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        if not set(algorithms) <= set(ALGORITHMS):
            raise ValueError(f"expected some of {', '.join(ALGORITHMS)}")
        return algorithms

    @field_validator("jwt_jwks_url")
    @classmethod
    def _trustworthy(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://none")
        encrypted = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))
        if not encrypted or not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise ValueError("expected an https address, without credentials")
        return url

    @field_validator("jwt_tenant_permissions")
    @classmethod
    def _contained(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            before, name, after = template.partition(TENANT)
            # A star beside the name would let a tenant `a` into the namespaces of `ab`.
            if not name or TENANT in after or ":" not in before or before.endswith("*") or after.startswith("*"):
                raise ValueError(f"expected <action>:<pattern> with one {TENANT} in the pattern and no star beside it")
        return templates

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("expected origins such as https://app.example.com, in lower case, each written out")
        return origins

    @model_validator(mode="after")
    def _agree(self) -> Self:
        at_most(self, "jwks_retry_s", "jwks_refresh_s")
        at_most(self, "jwks_refresh_s", "jwks_stale_s")
        if self.jwt and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError("expected jwt_issuer and jwt_audience beside keys: tokens for others are not for us")
        if bool(self.tls_certificate) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_key):
            raise ValueError("expected tls_certificate and tls_key together, and tls_client_ca only with them")
        return self


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
