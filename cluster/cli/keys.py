"""`parquedb keys`: API keys issued, listed, rotated and revoked from the command line."""

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import parquedb
from parquedb.cluster.gateway.access.api_keys import OVERLAP, ApiKey, ApiKeys


@dataclass
class KeysCommand:
    """One run of the command.

    Attributes:
        options: The command line.
        screen: Where keys and lists go.
        notices: Where the rest goes, so that a program can read a key from standard output.
    """

    options: argparse.Namespace
    screen: Console = field(default_factory=lambda: Console(file=sys.stdout, soft_wrap=True, highlight=False))
    notices: Console = field(default_factory=lambda: Console(file=sys.stderr, soft_wrap=True, highlight=False))

    def run(self) -> bool:
        """Do what was asked.

        Raises:
            EntityNotFoundError: there is no such key.
            InvalidInputError: a name, permission or time that cannot be used.
            ParqueDBError: the database refused, or did not answer.
        """
        asyncio.run(self._run())
        return True

    async def _run(self) -> None:
        async with await parquedb.connect_async(self.options.url) as database:
            await self.act(ApiKeys(database))

    async def act(self, keys: ApiKeys) -> None:
        """Do what was asked with the keys of a database; raises as `run`."""
        options = self.options
        if options.action == "issue":
            self._show_new(
                *await keys.issue(
                    options.name,
                    options.permissions,
                    expires_in=options.expires_in,
                    requests_max=options.requests,
                )
            )
        elif options.action == "rotate":
            overlap = OVERLAP if options.overlap is None else options.overlap
            self._show_new(*await keys.rotate(options.id, overlap=overlap))
        elif options.action == "revoke":
            self._show_revoked(await keys.revoke(options.id))
        else:
            self._show_all(await keys.list())

    def _show_new(self, text: str, record: ApiKey) -> None:
        if self.options.json:
            self._print({"key": text, **record.to_json()})
            return
        print(text, file=self.screen.file)
        told = f"key {record.id} of {record.name}; it is shown this once"
        self.notices.print(escape(told))

    def _show_revoked(self, record: ApiKey) -> None:
        if self.options.json:
            self._print(record.to_json())
        else:
            self.screen.print(escape(f"key {record.id} of {record.name} is revoked"))

    def _show_all(self, records: list[ApiKey]) -> None:
        if self.options.json:
            self._print([record.to_json() for record in records])
            return
        table = Table("id", "name", "state", "permissions", "created", "last used", box=None)
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
