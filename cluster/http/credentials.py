"""What a client shows a gateway to say who it is: a bearer token, a key, or what a provider of tokens gives.

None of it is ever part of a repr, a pickle, a log record or an error.
"""

import asyncio
import importlib
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from pydantic import SecretStr

from parquedb.errors import AuthenticationRequiredError, ConfigurationError
from parquedb.observability.logs.redaction import redactor

TokenProvider = Callable[[], str] | str
"""A function that returns a token and may block, or where to find it: `"module:attribute"`."""

_TOKEN_CHARS_MAX: Final = 16_384


class Credentials:
    """Who the caller says he is. Threads and event loops may share it.

    Args:
        token: A bearer token that stays the same.
        api_key: A key; sent as well as a token if both are given.
        provider: Returns tokens; asked when the first request leaves, and again when one has expired.

    Raises:
        ConfigurationError: a token and a provider are given, or what is given cannot be one.
    """

    def __init__(
        self, token: SecretStr | None = None, api_key: SecretStr | None = None, provider: TokenProvider | None = None
    ) -> None:
        if token is not None and provider is not None:
            raise ConfigurationError("expected a token or a token_provider, got both", setting="token_provider")
        self._token = None if token is None else _checked("token", token.get_secret_value())
        self._api_key = None if api_key is None else _checked("api_key", api_key.get_secret_value())
        self._provider = _found(provider)
        self._lock = threading.Lock()

    @property
    def any(self) -> bool:
        """Whether there is anything to keep secret."""
        return self._token is not None or self._api_key is not None or self._provider is not None

    async def headers(self) -> dict[str, str]:
        """Return the header fields of a request.

        Raises:
            AuthenticationRequiredError: the provider fails.
        """
        if self._token is None and self._provider is not None:
            await asyncio.to_thread(self._renew, None)
        found = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        return found if self._api_key is None else {**found, "X-API-Key": self._api_key}

    async def renewed(self, refused: Mapping[str, str]) -> bool:
        """Get another token in the place of one that was refused; whether there is another one now.

        Of many who meet the same refusal one asks the provider, and the others take what it got.

        Raises:
            AuthenticationRequiredError: the provider fails.
        """
        if self._provider is None:
            return False
        before = refused.get("Authorization", "").removeprefix("Bearer ")
        await asyncio.to_thread(self._renew, before)
        return self._token != before

    def _renew(self, refused: str | None) -> None:
        with self._lock:
            if self._provider is None or self._token != refused:
                return
            try:
                given = self._provider()
            except Exception as error:
                raise AuthenticationRequiredError(
                    f"the provider of tokens failed: {type(error).__name__}", cause=error
                ) from error
            self._token = _checked("token_provider", given)

    def __repr__(self) -> str:
        return f"Credentials({'some' if self.any else 'none'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials do not pickle")


def portable(provider: TokenProvider | None) -> TokenProvider | None:
    """Return a provider that another process can have: a name, or a function that pickles as one; else None."""
    if provider is None or isinstance(provider, str):
        return provider
    # A function of a module pickles by name. An object might take a secret along.
    name, module = getattr(provider, "__qualname__", ""), getattr(provider, "__module__", "")
    if not module or "<" in name:
        return None
    try:
        return provider if pickle.loads(pickle.dumps(provider)) is provider else None  # noqa: S301 - our own, just made
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _checked(name: str, given: Any) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= _TOKEN_CHARS_MAX or not given.isascii():
        raise ConfigurationError(f"{name}: expected a text of ASCII characters", setting=name)
    if not given.isprintable() or " " in given:
        raise ConfigurationError(f"{name}: expected no spaces and no line breaks", setting=name)
    redactor.hide(given)
    return given


def _found(provider: TokenProvider | None) -> Callable[[], str] | None:
    if not isinstance(provider, str):
        if provider is not None and not callable(provider):
            raise ConfigurationError("token_provider: expected a function", setting="token_provider")
        return provider
    module, _, attribute = provider.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"token_provider: {provider!r} cannot be loaded: {error}"
        raise ConfigurationError(message, setting="token_provider", cause=error) from error
    if not callable(found):
        raise ConfigurationError(f"token_provider: {provider!r} is no function", setting="token_provider")
    return found  # type: ignore[no-any-return]  # Its answers are checked.
