"""What a request says about who sends it: at most one proof, written in exactly one way."""

import re
from collections.abc import Iterable
from typing import Final

from parquedb.errors import AuthenticationRequiredError

CREDENTIAL_CHARS_MAX: Final = 65_536 + 16
API_KEY_PREFIX: Final = "pq_"

_SCHEME: Final = "bearer"
_VISIBLE: Final = re.compile(rb"[ -~]*")


def credentials_in(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """Return the fields `Authorization` and `X-API-Key` of a request, each None where it is absent.

    Args:
        headers: As ASGI gives them: names in lower case.

    Raises:
        AuthenticationRequiredError: one stands there twice (a proxy may have looked at the other one), is too long, or
            holds anything but visible ASCII and spaces.
    """
    authorization = api_key = None
    for name, value in headers:
        if name == b"authorization":
            if authorization is not None:
                raise AuthenticationRequiredError("expected one Authorization field")
            authorization = _text(value)
        elif name == b"x-api-key":
            if api_key is not None:
                raise AuthenticationRequiredError("expected one X-API-Key field")
            api_key = _text(value)
    return authorization, api_key


def bearer(authorization: str) -> str:
    """Return the token or API key of an `Authorization` field.

    Raises:
        AuthenticationRequiredError: it is not of the form `Bearer <token>`.
    """
    scheme, space, token = authorization.partition(" ")
    if scheme.lower() != _SCHEME or not space or not token or " " in token:
        raise AuthenticationRequiredError("expected Authorization: Bearer <token or API key>")
    return token


def _text(value: bytes) -> str:
    if len(value) > CREDENTIAL_CHARS_MAX or not _VISIBLE.fullmatch(value):
        raise AuthenticationRequiredError("expected a proof of identity in visible ASCII characters")
    return value.decode("ascii")
