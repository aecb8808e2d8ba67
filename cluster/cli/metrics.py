"""`parquedb metrics`: what owners have counted, as tables or for Prometheus."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from parquedb.cluster.cli.opening import watched
from parquedb.cluster.cli.tables import FittedTable
from parquedb.cluster.cli.terminal import output
from parquedb.cluster.cli.wording import counted, duration, one_line
from parquedb.cluster.client.database import Database
from parquedb.observability.metrics.snapshot import MetricsSnapshot, OperationKey, OperationMetrics
from parquedb.observability.prometheus.exposition import render

ROWS_MAX: Final = 40
"""Operations that are shown, the busiest first; the others are counted."""


@dataclass
class MetricsCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        side: `actor`, what owners have seen, or `client`, what the gateway, or else this process, has.
        prometheus: Whether to print what Prometheus scrapes.
        every_s: Seconds after which to look again, for ever; None for once.
        as_json: Whether to print JSON.
        screen: Where numbers go.
        wait: Waits for so many seconds.
    """

    url: str | None
    side: str = "actor"
    prometheus: bool = False
    every_s: float | None = None
    as_json: bool = False
    screen: Console = field(default_factory=output)
    wait: Callable[[float], None] = time.sleep

    def run(self) -> bool:
        """Print what was counted; return whether anything was.

        Raises:
            RpcUnavailableError: there is no Ray, or no gateway, that could be asked.
            ParqueDBError: the question was refused.
        """
        with watched(self.url) as database:
            if self.every_s is None:
                return self._show(database.metrics())
            live = self.screen.is_terminal and not (self.as_json or self.prometheus)
            return self._watch_live(database) if live else self._watch(database)

    def _watch(self, database: Database) -> bool:
        for snapshot in self._looks(database):
            self._show(snapshot)
            self.screen.file.flush()
        return True

    def _watch_live(self, database: Database) -> bool:
        with Live(console=self.screen, screen=False, auto_refresh=False) as live:
            for snapshot in self._looks(database):
                live.update(tables(snapshot, self.side), refresh=True)
        return True

    def _looks(self, database: Database) -> Iterator[MetricsSnapshot]:
        while True:
            yield database.metrics()
            self.wait(self.every_s or 0.0)

    def _show(self, snapshot: MetricsSnapshot) -> bool:
        if self.prometheus:
            self.screen.file.write(render(snapshot).decode())
        elif self.as_json:
            print(json.dumps(snapshot.to_json()), file=self.screen.file)
        else:
            self.screen.print(tables(snapshot, self.side))
        return bool(calls_of(snapshot, self.side))


def tables(snapshot: MetricsSnapshot, side: str) -> RenderableType:
    """Return a snapshot for people: calls by namespace and operation, then what owners say of themselves."""
    parts: list[RenderableType] = [_operations(snapshot, side)]
    if snapshot.owners:
        parts += [Text(""), _owners(snapshot)]
    for name, why in snapshot.unreachable.items():
        parts.append(Text(one_line(f"{name or 'all owners'}: {why}"), style="bold red"))
    return Group(*parts)


def calls_of(snapshot: MetricsSnapshot, side: str) -> list[tuple[OperationKey, OperationMetrics]]:
    """Return the calls that one side has counted, the busiest first."""
    found = [
        (key, one)
        for key, one in snapshot.operations.items()
        if key.side == side and key.category in {"query", "mutation"}
    ]
    return sorted(found, key=lambda pair: (-pair[1].count, pair[0]))


def _operations(snapshot: MetricsSnapshot, side: str) -> RenderableType:
    shown = calls_of(snapshot, side)
    if not shown:
        return Text("no call has been counted", style="dim")
    numbers = (">calls", ">a second", ">failed", ">median", ">99 % in", ">documents")
    table = FittedTable("namespace", "operation", *numbers)
    for key, one in sorted(shown[:ROWS_MAX], key=lambda pair: (pair[0].namespace, -pair[1].count)):
        failed = Text(f"{one.error_count:,}", style="red" if one.error_count else "")
        times = [_time(one.p50_s), _time(one.p99_s)]
        rate = f"{one.recent[0].request_rate:,.1f}"
        name = escape(one_line(key.namespace))
        table.add_row(name, key.operation, f"{one.count:,}", rate, failed, *times, f"{one.rows:,}")
    left = len(shown) - ROWS_MAX
    return table if left <= 0 else Group(table, Text(f"and {counted(left, 'operation')} more", style="dim"))


def _owners(snapshot: MetricsSnapshot) -> FittedTable:
    table = FittedTable("owner", ">waiting", ">commit lag", ">refused", ">flushes", ">merges", ">in memory")
    for name, owner in sorted(snapshot.owners.items())[:ROWS_MAX]:
        cache = snapshot.cache.get(name)
        hits = "" if cache is None or cache.hit_rate is None else f"{cache.hit_rate:.0%}"
        numbers = (owner.backpressure, sum(owner.flushes.values()), owner.compactions)
        lag = _time(owner.commit_lag_s or None)
        table.add_row(escape(one_line(name)), f"{owner.queue_depth:,}", lag, *(f"{one:,}" for one in numbers), hits)
    return table


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
