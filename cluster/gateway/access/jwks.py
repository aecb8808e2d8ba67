"""The keys that an issuer publishes under an address (JWKS): fetched when needed, kept, and trusted for a bounded time.

    age < refresh_s    used as they are
    age < stale_s      used, while new ones are fetched in the background
    older, or none     a caller waits for the fetch, and is told if it fails

A token with an unknown key id is worth a fetch, because issuers change keys; one every `retry_s` seconds, because
anybody can make up key ids. Whoever needs a fetch joins the one that runs.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx
import orjson

from parquedb.clock import Clock
from parquedb.cluster.gateway.access.verification_keys import VerificationKey, published_key
from parquedb.errors import RpcUnavailableError
from parquedb.observability.logs import get_logger
from parquedb.settings.access import AccessSettings

_LOG: Final = get_logger("cluster.gateway.access.jwks")
_OK: Final = 200


class PublishedKeys:
    """The keys of one issuer. Belongs to one event loop.

    Args:
        url: Where they are.
        settings: Its `jwks_*` numbers are honoured.
        clock: What ages are measured with.
    """

    def __init__(self, url: str, settings: AccessSettings, clock: Clock) -> None:
        self._url = url
        self._settings = settings
        self._clock = clock
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_s: float | None = None
        self._tried_s: float | None = None
        self._flight: asyncio.Task[None] | None = None
        self._client: httpx.AsyncClient | None = None

    async def candidates(self, algorithm: str, kid: str | None) -> Sequence[VerificationKey]:
        """Return the key of this name, or the only one that fits if a token names none.

        Raises:
            RpcUnavailableError: the issuer has not been heard of for too long.
        """
        age_s = self._age_s()
        if age_s >= self._settings.jwks_stale_s:
            await self._fetch()
            if self._age_s() >= self._settings.jwks_stale_s:
                raise RpcUnavailableError(
                    "the keys of the issuer of tokens cannot be fetched", retry_after=self._settings.jwks_retry_s
                )
        elif age_s >= self._settings.jwks_refresh_s:
            self._start()
        found = self._find(algorithm, kid)
        if not found and kid is not None and all(key.kid != kid for key in self._keys):
            await self._fetch()
            found = self._find(algorithm, kid)
        return found

    async def close(self) -> None:
        """End a fetch that runs, and close the connection."""
        if self._flight is not None:
            self._flight.cancel()
        if self._client is not None:
            await self._client.aclose()

    def _find(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        fit = [key for key in self._keys if algorithm in key.algorithms]
        if kid is not None:
            return [key for key in fit if key.kid == kid]
        # Trying one after the other would make each forged token as dear as there are keys.
        return fit if len(fit) == 1 else []

    def _age_s(self) -> float:
        return float("inf") if self._fetched_s is None else self._clock.boot_s() - self._fetched_s

    async def _fetch(self) -> None:
        """Wait for a fetch, if one may be made at present."""
        flight = self._start()
        if flight is not None:
            # Shielded: a caller who gives up must not take it from the others.
            await asyncio.shield(flight)

    def _start(self) -> asyncio.Task[None] | None:
        if self._flight is None or self._flight.done():
            now_s = self._clock.boot_s()
            if self._tried_s is not None and now_s - self._tried_s < self._settings.jwks_retry_s:
                return None
            self._tried_s = now_s
            self._flight = asyncio.create_task(self._refresh())
        return self._flight

    async def _refresh(self) -> None:
        """Replace the keys, or keep them and say why; raises nothing."""
        try:
            async with asyncio.timeout(self._settings.jwks_timeout_s):
                keys = self._read(await self._download())
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            _LOG.warning(
                "the issuer's keys cannot be fetched, %s: %s", "kept" if self._keys else "there are none", error
            )
            return
        self._keys, self._fetched_s = keys, self._clock.boot_s()

    async def _download(self) -> bytes:
        """Return the document.

        Raises:
            ValueError: it is too long, or another answer came; redirects are not followed.
        """
        if self._client is None:
            # Nothing packed is asked for, and below nothing is unpacked: that could make much of little.
            self._client = httpx.AsyncClient(
                timeout=self._settings.jwks_timeout_s, follow_redirects=False, headers={"Accept-Encoding": "identity"}
            )
        body = bytearray()
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != _OK:
                raise ValueError(f"expected status {_OK}, got {response.status_code}")
            async for part in response.aiter_raw():
                body += part
                if len(body) > self._settings.jwks_bytes_max:
                    raise ValueError(f"expected at most {self._settings.jwks_bytes_max} bytes")
        return bytes(body)

    def _read(self, body: bytes) -> tuple[VerificationKey, ...]:
        document = orjson.loads(body)
        found = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(found, list) or len(found) > self._settings.jwks_keys_max:
            raise ValueError(f"expected a list of at most {self._settings.jwks_keys_max} keys")
        keys = [published_key(jwk) for jwk in found if isinstance(jwk, dict)]
        usable = tuple(key for key in keys if key is not None)
        if not usable:
            raise ValueError("expected a key that signatures can be checked with")
        return usable
