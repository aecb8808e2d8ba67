"""API keys at the gateway: looked up in the database, and remembered for some seconds.

For that long a revoked key goes on working here; `api_key_cache_s` is the bound, ten seconds at most.
"""

import asyncio
import hmac
from datetime import datetime
from typing import Final

from parquedb.access.principal import Principal
from parquedb.clock import Clock
from parquedb.cluster.gateway.access.api_key_text import read_key
from parquedb.cluster.gateway.access.api_keys import ApiKey, ApiKeys
from parquedb.cluster.gateway.access.recent import Recent
from parquedb.errors import AuthenticationRequiredError, ParqueDBError, TokenExpiredError
from parquedb.observability.logs import get_logger
from parquedb.settings.access import AccessSettings

_LOG: Final = get_logger("cluster.gateway.access.api_key_verifier")
_NOTES_MAX: Final = 16
"""Notes about use that are being written at once (count); more wait for another request."""


class ApiKeyVerifier:
    """Verifies API keys. Belongs to one event loop.

    Args:
        keys: The keys of the database.
        settings: Its `api_key*` numbers are honoured.
        clock: Tells the age of what is remembered, and when keys expire.
    """

    def __init__(self, keys: ApiKeys, settings: AccessSettings, clock: Clock) -> None:
        self._keys = keys
        self._cache_s = settings.api_key_cache_s
        self._clock = clock
        self._known: Recent[str, tuple[ApiKey, Principal, float]] = Recent(settings.api_keys_cached_max)
        # Apart, so that made-up ids push no real key out.
        self._unknown: Recent[str, float] = Recent(settings.api_keys_cached_max)
        self._notes: dict[str, asyncio.Task[None]] = {}
        self._noted: Recent[str, datetime] = Recent(settings.api_keys_cached_max)

    async def principal(self, text: str) -> Principal:
        """Return whose key this is.

        Raises:
            AuthenticationRequiredError: it is nobody's, or was revoked.
            TokenExpiredError: its time is over.
            ParqueDBError: the database cannot be asked.
        """
        key = read_key(text)
        entry = None if key is None else await self._entry(key.id)
        # One answer to a wrong secret and to an unknown id; the comparison takes as long whatever is different.
        if key is None or entry is None or not hmac.compare_digest(key.digest(), entry[0].digest):
            raise AuthenticationRequiredError("the API key is not valid")
        record, principal, _ = entry
        if record.revoked is not None:
            raise AuthenticationRequiredError("the API key was revoked")
        if record.expires is not None and record.expires <= self._clock.now():
            raise TokenExpiredError("the API key has expired")
        self._note(record)
        return principal

    async def close(self) -> None:
        """End what is being written about the use of keys."""
        notes = list(self._notes.values())
        for task in notes:
            task.cancel()
        await asyncio.gather(*notes, return_exceptions=True)

    async def _entry(self, id: str) -> tuple[ApiKey, Principal, float] | None:  # noqa: A002 - the public word for it
        now_s = self._clock.boot_s()
        entry = self._known.get(id)
        if entry is not None and now_s - entry[2] < self._cache_s:
            return entry
        missed_s = self._unknown.get(id)
        if missed_s is not None and now_s - missed_s < self._cache_s:
            return None
        # Aged from before the question: the answer may have been true only then.
        record = await self._keys.find(id)
        if record is None:
            self._known.forget(id)
            self._unknown.put(id, now_s)
            return None
        ends_s = None if record.expires is None else record.expires.timestamp()
        principal = Principal(record.name, record.permissions, "api_key", ends_s, record.requests_max)
        entry = (record, principal, now_s)
        self._known.put(id, entry)
        return entry

    def _note(self, record: ApiKey) -> None:
        """Have the use of a key written down, once an hour; nobody waits for it."""
        hour = self._clock.now().replace(minute=0, second=0, microsecond=0)
        if record.last_used == hour or self._noted.get(record.id) == hour or len(self._notes) >= _NOTES_MAX:
            return
        self._noted.put(record.id, hour)
        task = asyncio.create_task(self._write_note(record.id))
        self._notes[record.id] = task
        task.add_done_callback(lambda _: self._notes.pop(record.id, None))

    async def _write_note(self, id: str) -> None:  # noqa: A002 - the public word for it
        try:
            await self._keys.note_use(id)
        except ParqueDBError as error:
            _LOG.debug("the use of API key %s was not noted: %s", id, error)
