"""The settings of a client of an HTTP gateway: trust, connections, and how much it takes."""

from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from parquedb.settings.groups import URL_CHARS_MAX, SettingsGroup

GATEWAY_SCHEMES: Final = frozenset({"http", "https"})

_MIB: Final = 1 << 20


class HttpSettings(SettingsGroup):
    """A client of a gateway. Certificates are always verified; there is no setting that turns it off."""

    ca_file: str | None = Field(
        default=None,
        max_length=4096,
        description="PEM file of the authorities to trust; the system's when absent.",
    )
    client_cert: str | None = Field(
        default=None, max_length=4096, description="PEM file of the certificate that the client shows."
    )
    client_key: str | None = Field(
        default=None, max_length=4096, description="PEM file of its private key; the same file when absent."
    )
    allow_http: bool = Field(
        default=False,
        description="Whether http:// may leave this machine, where others can read it; never with a token or key.",
    )
    connect_timeout_s: float = Field(default=5, ge=0.001, le=600, description="Seconds for making a connection.")
    connections_max: int = Field(default=100, ge=1, le=4096, description="Connections of one event loop.")
    keepalive_s: float = Field(default=30, ge=0, le=3600, description="Seconds that an idle connection is kept.")
    attempts_max: int = Field(
        default=5, ge=1, le=100, description="Attempts in all where nothing can have been applied, the first included."
    )
    retry_budget_ratio: float = Field(default=0.2, ge=0, le=1, description="Repeats per answered request over time.")
    answer_bytes_max: int = Field(
        default=256 * _MIB, ge=1024, le=4096 * _MIB, description="Bytes of an answer that are read."
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("expected a client_cert beside client_key")
        return self


def is_gateway_url(value: str) -> bool:
    """Whether a database at this address is behind a gateway."""
    scheme, found, _ = value.partition("://")
    return bool(found) and scheme.lower() in GATEWAY_SCHEMES


def checked_gateway_url(value: Any) -> str:
    """Return the address of a gateway in one spelling: no slash at the end.

    Raises:
        ValueError: it can be none, or holds credentials.
    """
    expected = "expected https://<host>[:<port>][/<prefix>]"
    if len(value) > URL_CHARS_MAX or any(ord(char) <= ord(" ") for char in value):
        raise ValueError(expected)
    parts = urlsplit(value)
    if "@" in parts.netloc:
        raise ValueError("expected an address without credentials; give them as token or api_key")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    if not parts.hostname or parts.query or parts.fragment or port == 0:
        raise ValueError(expected)
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
