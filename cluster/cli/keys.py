"""`parquedb keys`: API keys issued, listed, rotated and revoked from the command line."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape

import parquedb
from parquedb.cluster.cli.opening import quietly, storage_of
from parquedb.cluster.cli.tables import FittedTable
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.gateway.access.api_keys import OVERLAP, ApiKey, ApiKeys


def act_on_keys(url: str | None, act: Callable[["KeysCommand"], Awaitable[None]], *, as_json: bool = False) -> bool:
    """Open a database and do something with its keys.

    Args:
        url: Where it is; what the environment says when None.
        act: One of the methods below.
        as_json: Whether to print JSON.

    Raises:
        EntityNotFoundError: there is no such key.
        InvalidInputError: a name, permission or time that cannot be used.
        ParqueDBError: the database refused, or did not answer.
    """

    async def acted() -> None:
        with quietly():
            connected = await parquedb.connect_async(url)
        async with connected as database:
            await act(KeysCommand(ApiKeys(database), as_json))

    storage_of(url, "keys")
    asyncio.run(acted())
    return True


@dataclass
class KeysCommand:
    """What can be done with keys, and what is printed of it.

    Attributes:
        keys: Of one database.
        as_json: Whether to print JSON.
        screen: Where keys and lists go.
        notices: Where the rest goes, so that a program can read a key from standard output.
    """

    keys: ApiKeys
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notices: Console = field(default_factory=notices)

    async def issue(
        self,
        name: str,
        permissions: Sequence[str],
        *,
        expires_in: timedelta | None = None,
        requests_max: int | None = None,
    ) -> None:
        """Make a key and print it."""
        made = await self.keys.issue(name, permissions, expires_in=expires_in, requests_max=requests_max)
        self._show_new(*made)

    async def rotate(self, id_: str, *, overlap: timedelta | None = None) -> None:
        """Make a key that may do the same, print it, and let the old one expire."""
        self._show_new(*await self.keys.rotate(id_, overlap=OVERLAP if overlap is None else overlap))

    async def revoke(self, id_: str) -> None:
        """Refuse a key from now on."""
        self._show_revoked(await self.keys.revoke(id_))

    async def list(self) -> None:
        """Print all keys, without secrets."""
        self._show_all(await self.keys.list())

    def _show_new(self, text: str, record: ApiKey) -> None:
        if self.as_json:
            self._print({"key": text, **record.to_json()})
            return
        print(text, file=self.screen.file)
        told = f"key {record.id} of {record.name}; it is shown this once"
        self.notices.print(escape(told))

    def _show_revoked(self, record: ApiKey) -> None:
        if self.as_json:
            self._print(record.to_json())
        else:
            self.screen.print(escape(f"key {record.id} of {record.name} is revoked"))

    def _show_all(self, records: Sequence[ApiKey]) -> None:
        if self.as_json:
            self._print([record.to_json() for record in records])
            return
        table = FittedTable("id", "name", "state", "permissions", "created", "last used")
        for one in records:
            times = [one.created, one.last_used]
            days = ["" if time is None else f"{time:%Y-%m-%d}" for time in times]
            table.add_row(one.id, escape(one.name), _state(one), escape(" ".join(one.permissions.entries)), *days)
        self.screen.print(table)

    def _print(self, data: Any) -> None:
        print(json.dumps(data, indent=2), file=self.screen.file)


def _state(key: ApiKey) -> str:
    if key.revoked is not None:
        return f"revoked {key.revoked:%Y-%m-%d}"
    if key.expires is None:
        return "valid"
    return f"{'valid until' if key.expires > datetime.now(UTC) else 'expired'} {key.expires:%Y-%m-%d %H:%M}"
