"""`parquedb namespaces`: what there is in a database, with sizes where asked for."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

import parquedb
from parquedb.cluster.cli.opening import place_of, storage_of, stored_names
from parquedb.cluster.cli.tables import FittedTable
from parquedb.cluster.cli.terminal import notices, output
from parquedb.cluster.cli.wording import one_line, size
from parquedb.cluster.overview.verifying import verify_database
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.storage.verification.report import VerificationReport


@dataclass
class NamespacesCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        sizes: Whether to show how large each is.
        as_json: Whether to print JSON.
        screen: Where names go.
        notes: Where the rest goes.
    """

    url: str | None
    sizes: bool = False
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notes: Console = field(default_factory=notices)

    def run(self) -> bool:
        """Print the names; return whether there are any.

        Raises:
            ConfigurationError: sizes are behind a gateway.
            ParqueDBError: the database cannot be had.
        """
        if self.sizes:
            return self._run_with_sizes(storage_of(self.url, "--sizes"))
        settings = place_of(self.url)
        names = self._names(settings)
        if self.as_json:
            print(json.dumps({"namespaces": names}), file=self.screen.file)
        else:
            for name in names:
                print(one_line(name), file=self.screen.file)
        if not names:
            self.notes.print(f"[dim]no namespace is stored in {settings.url}[/]")
        return bool(names)

    def _names(self, settings: Settings) -> list[str]:
        # Only owners know what is in their memory, and only a gateway what is behind it.
        if settings.is_gateway or settings.url.startswith("memory:"):
            with parquedb.connect(self.url) as database:
                return database.namespaces()
        return stored_names(settings)

    def _run_with_sizes(self, settings: Settings) -> bool:
        report = asyncio.run(verify_database(settings, HookRegistry(), full=False))
        found = {one.namespace: facts_of(one) for one in report.namespaces}
        if self.as_json:
            print(json.dumps({"namespaces": found}), file=self.screen.file)
            return bool(found)
        table = FittedTable("namespace", ">data files", ">their rows", ">objects", ">stored", ">last seq")
        for name, facts in found.items():
            numbers = [f"{facts[key]:,}" for key in ("data_files", "rows", "objects")]
            table.add_row(escape(one_line(name)), *numbers, size(facts["bytes"]), f"{facts['seq']:,}")
        if found:
            self.screen.print(table)
        return bool(found)


def facts_of(report: VerificationReport) -> dict[str, Any]:
    """Return how large a namespace is. Rows are those of data files; what was written lately is in the log alone."""
    counts = report.counts
    return {
        "rows": counts.rows,
        "data_files": counts.data_files,
        "objects": counts.objects,
        "bytes": counts.bytes,
        "seq": report.seq,
    }
