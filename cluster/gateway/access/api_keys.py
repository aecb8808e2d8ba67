"""API keys as documents of the database: issued, listed, revoked, rotated. Only hashes are stored.

They lie in a namespace of their own, which no HTTP caller reaches (`parquedb.access.reserved`), so a revocation is as
durable as any other write, and every gateway of the database learns of it.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from parquedb.access.permissions import Permissions
from parquedb.access.reserved import API_KEYS
from parquedb.clock import Clock, SystemClock
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.access.api_key_text import ApiKeyText, new_key
from parquedb.cluster.gateway.access.claims import is_permission
from parquedb.errors import EntityNotFoundError, InvalidInputError, VersionConflictError

NAME_CHARS_MAX: Final = 200
KEYS_MAX: Final = 10_000
"""Keys that are listed at most."""
OVERLAP: Final = timedelta(days=1)
"""For so long a rotated key goes on working, unless another time is given."""

_PAGE: Final = 1000
_ROTATION_TRIES: Final = 5
"""A key in use changes by itself once an hour."""


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key; not the key.

    Attributes:
        id: Names it.
        name: Whose it is: the subject that its requests act as.
        permissions: What it may do.
        created: When it was issued, UTC.
        expires: From when on it is refused, UTC; None for never.
        revoked: When it was revoked, UTC; None if it was not.
        last_used: About when it was used last, to the hour, UTC; None if it never was.
        requests_max: Requests in one window, where that is not what all may.
        digest: The hash of the key.
    """

    id: str
    name: str
    permissions: Permissions
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    last_used: datetime | None = None
    requests_max: int | None = None
    digest: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data, without the hash."""
        times = {"created": self.created, "expires": self.expires, "revoked": self.revoked, "last_used": self.last_used}
        return {
            "id": self.id,
            "name": self.name,
            "permissions": list(self.permissions.entries),
            **{name: None if time is None else time.isoformat() for name, time in times.items()},
            "requests_max": self.requests_max,
        }


class ApiKeys:
    """The API keys of a database.

    Args:
        database: Where they are; its connection reaches the reserved namespace.
        clock: Says when keys expire.
    """

    def __init__(self, database: AsyncDatabase, clock: Clock | None = None) -> None:
        self._documents = database.collection(API_KEYS)
        self._clock = clock or SystemClock()

    async def issue(
        self,
        name: str,
        permissions: Iterable[str],
        *,
        expires_in: timedelta | None = None,
        requests_max: int | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key.

        Args:
            name: Whose it is; `createdBy` and `updatedBy` of what it writes.
            permissions: What it may do, such as `read:orders`.
            expires_in: For how long; None for ever.
            requests_max: Requests in one window of the rate limit, if not what all may.

        Returns:
            The key, which is in nobody's memory but the caller's from now on, and its record.

        Raises:
            InvalidInputError: no usable name, permissions, time or number.
        """
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
            raise InvalidInputError(f"name: expected printable text of 1 to {NAME_CHARS_MAX} characters")
        if expires_in is not None and expires_in <= timedelta():
            raise InvalidInputError("expires_in: expected a time in the future")
        if requests_max is not None and requests_max < 1:
            raise InvalidInputError(f"requests_max: expected 1 or more, got {requests_max}")
        allowed = Permissions(permissions)
        key, now = new_key(), self._clock.now()
        fields = {
            "name": name,
            "permissions": list(allowed.entries),
            "created": now,
            "expires": None if expires_in is None else now + expires_in,
            "requests_max": requests_max,
        }
        await self._documents.create(_document(key, fields), id=key.id)
        return key.text, await self.get(key.id)

    async def list(self) -> list[ApiKey]:
        """Return all keys, revoked and expired ones too, in the order of their ids; `KEYS_MAX` at most."""
        found = []
        page = await self._documents.find(limit=_PAGE)
        async for document in page:
            found.append(_record(document))
            if len(found) >= KEYS_MAX:
                break
        return found

    async def get(self, id: str) -> ApiKey:  # noqa: A002 - the public word for it
        """Return a key.

        Raises:
            EntityNotFoundError: there is none of this id.
        """
        return _record(await self._existing(id))

    async def find(self, id: str) -> ApiKey | None:  # noqa: A002 - the public word for it
        """Return a key, or None."""
        document = await self._documents.get(id)
        return None if document is None else _record(document)

    async def revoke(self, id: str) -> ApiKey:  # noqa: A002 - the public word for it
        """Refuse a key for good; a second time changes nothing. Gateways notice within `api_key_cache_s`.

        Raises:
            EntityNotFoundError: there is none of this id.
        """
        found = await self.get(id)
        if found.revoked is None:
            await self._documents.update(id, {"$set": {"revoked": self._clock.now()}})
        return await self.get(id)

    async def rotate(self, id: str, *, overlap: timedelta = OVERLAP) -> tuple[str, ApiKey]:  # noqa: A002
        """Make a key that may do the same, and let the old one expire after `overlap`; both or neither happens.

        Raises:
            EntityNotFoundError: there is none of this id.
            InvalidInputError: it was revoked or has expired, or `overlap` is negative.
            VersionConflictError: others went on changing it meanwhile.
        """
        for _ in range(_ROTATION_TRIES - 1):
            with contextlib.suppress(VersionConflictError):
                return await self._rotate(id, overlap)
        return await self._rotate(id, overlap)

    async def _rotate(self, id: str, overlap: timedelta) -> tuple[str, ApiKey]:  # noqa: A002
        document = await self._existing(id)
        old, now = _record(document), self._clock.now()
        if overlap < timedelta() or old.revoked is not None or (old.expires is not None and old.expires <= now):
            raise InvalidInputError(f"API key {id} cannot be rotated: it is no longer valid, or overlap is negative")
        key = new_key()
        fields = {
            "name": old.name,
            "permissions": list(old.permissions.entries),
            "created": now,
            "expires": None if old.expires is None else now + (old.expires - old.created),
            "requests_max": old.requests_max,
        }
        ends = now + overlap if old.expires is None else min(old.expires, now + overlap)
        await self._documents.batch(
            [
                {"op": "create", "id": key.id, "data": _document(key, fields)},
                {
                    "op": "update",
                    "id": id,
                    "ops": {"$set": {"expires": ends, "successor": key.id}},
                    # Whoever is revoked meanwhile gets no successor.
                    "expected_version": document["version"],
                },
            ]
        )
        return key.text, await self.get(key.id)

    async def _existing(self, id: str) -> dict[str, Any]:  # noqa: A002
        document = await self._documents.get(id)
        if document is None:
            raise EntityNotFoundError(f"there is no API key {id[:40]!r}", namespace=API_KEYS, id=id[:40])
        return document

    async def note_use(self, id: str) -> None:  # noqa: A002 - the public word for it
        """Remember that a key was used in this hour."""
        hour = self._clock.now().replace(minute=0, second=0, microsecond=0)
        await self._documents.update(id, {"$max": {"last_used": hour}})


def _document(key: ApiKeyText, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"digest": key.digest(), **{name: value for name, value in fields.items() if value is not None}}


def _record(document: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=document["$id"].partition("/")[2],
        name=document["name"],
        # One that this release does not know, or no longer, grants nothing.
        permissions=Permissions(entry for entry in document["permissions"] if is_permission(entry)),
        created=document["created"],
        expires=document.get("expires"),
        revoked=document.get("revoked"),
        last_used=document.get("last_used"),
        requests_max=document.get("requests_max"),
        digest=document["digest"],
    )
