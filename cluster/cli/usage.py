"""`parquedb usage`: what requests to models came to, as tables and bars or as a page of HTML."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import parquedb
from parquedb.errors import CollectionNotFoundError, ConfigurationError
from parquedb.observability.ai.charts import compact
from parquedb.observability.ai.prices import load_custom_prices
from parquedb.observability.ai.report import ai_usage_report, money, seconds
from parquedb.observability.ai.requests import NAMESPACE
from parquedb.observability.ai.tenants import ALL_TENANTS
from parquedb.observability.ai.usage import Usage
from parquedb.observability.ai.usage_view import AIUsageView, UsageRow, UsageSummary, create_ai_usage_view

_BAR_WIDTH: Final = 40


@dataclass
class UsageCommand:
    """One run of the command.

    Attributes:
        url: Where the database is.
        granularity: `hour`, `day`, `week` or `month`.
        from_: First day or time; None for all.
        to: Last one (exclusive); None for all.
        tenant: Whose requests; None for all tenants.
        prices: Own prices as JSON; see `custom_prices`.
        html: Write the page there.
        full: Whether to count everything anew.
        as_json: Whether to print JSON instead of tables.
        screen: Where tables go.
    """

    url: str | None
    granularity: str = "day"
    from_: str | None = None
    to: str | None = None
    tenant: str | None = None
    prices: Path | None = None
    html: Path | None = None
    full: bool = False
    as_json: bool = False
    screen: Console = field(default_factory=lambda: Console(file=sys.stdout, highlight=False))

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> "UsageCommand":
        """Make it from the command line."""
        return cls(
            options.url,
            options.granularity,
            options.since,
            options.until,
            options.tenant,
            options.prices,
            options.html,
            options.full,
            options.json,
        )

    def run(self) -> bool:
        """Refresh the view and show it.

        Raises:
            CollectionNotFoundError: no request was ever recorded there.
            ParqueDBError: the database cannot be had, or an argument is not understood.
        """
        with parquedb.connect(self.url) as db:
            if NAMESPACE not in db.namespaces():
                raise CollectionNotFoundError(f"no requests to models are stored in {db.url}", namespace=NAMESPACE)
            view = create_ai_usage_view(
                db, granularity=self.granularity, custom_pricing=self._own_prices(), allow_cross_tenant=True
            )
            view.refresh(self.full)
            self.show(view)
        return True

    def show(self, view: AIUsageView) -> None:
        """Print what a view holds, or write the page."""
        tenant = ALL_TENANTS if self.tenant is None else self.tenant
        if self.html is not None:
            self.html.write_text(ai_usage_report(view, self.from_, self.to, tenant=tenant), encoding="utf-8")
            self.screen.print(f"written: {escape(str(self.html))}")
            return
        summary = view.get_summary(self.from_, self.to, tenant=tenant)
        periods = view.get_usage(self.from_, self.to, tenant=tenant, group_by=["period"])
        if self.as_json:
            print(json.dumps(_plain(summary, periods), indent=2), file=self.screen.file)
            return
        self._tell(summary)
        if summary.requests:
            self._tell_periods(periods)
            self._tell_models(summary.by_model)

    def _own_prices(self) -> Any:
        if self.prices is None:
            return None
        try:
            return load_custom_prices(self.prices.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"--prices: {self.prices} cannot be read: {error}", setting="--prices") from error

    def _tell(self, summary: UsageSummary) -> None:
        usage = summary.usage
        facts = [
            f"[bold]{money(usage.cost)}[/]" + (f" (caches saved {money(usage.saved)})" if usage.saved else ""),
            f"{usage.requests:,} requests",
            f"{usage.errors:,} errors ({usage.error_rate:.1%})",
            f"{usage.tokens.input:,} tokens in, {usage.tokens.output:,} out",
            f"{seconds(usage.average_latency_s)} on average",
        ]
        self.screen.print(", ".join(facts), soft_wrap=True)
        for model, count in summary.unpriced_models.items():
            self.screen.print(
                f"[yellow]no price is known for {escape(model)}[/]: {count:,} requests are not in the cost"
            )

    def _tell_periods(self, rows: list[UsageRow]) -> None:
        table = Table(box=None, header_style="dim")
        table.add_column(self.granularity)
        for name in ("requests", "errors", "tokens", "cost"):
            table.add_column(name, justify="right")
        table.add_column("")
        most = max((row.usage.cost for row in rows), default=0)
        for row in rows:
            usage = row.usage
            bar = Bar(float(most), 0, float(usage.cost), width=_BAR_WIDTH, color="blue") if most else ""
            cells = (f"{usage.requests:,}", f"{usage.errors:,}", compact(usage.tokens.total), money(usage.cost))
            table.add_row(row.period_name, *cells, bar)
        self.screen.print(table)

    def _tell_models(self, models: Mapping[str, Usage]) -> None:
        table = Table(box=None, header_style="dim")
        table.add_column("model", overflow="fold")
        for name in ("requests", "errors", "in", "cached", "out", "p50", "p95", "cost"):
            table.add_column(name, justify="right")
        for model, usage in models.items():
            table.add_row(
                escape(model),
                f"{usage.requests:,}",
                f"{usage.errors:,}",
                *map(compact, (usage.tokens.input, usage.tokens.cache_read, usage.tokens.output)),
                seconds(usage.latency_s(0.5)),
                seconds(usage.latency_s(0.95)),
                "unknown" if usage.unpriced == usage.requests else money(usage.cost),
            )
        self.screen.print(table)


def _plain(summary: UsageSummary, periods: list[UsageRow]) -> dict[str, Any]:
    """Return JSON; money as texts, so that it stays exact."""
    return {
        "total": _plain_usage(summary.usage),
        "by_model": {name: _plain_usage(usage) for name, usage in summary.by_model.items()},
        "by_provider": {name: _plain_usage(usage) for name, usage in summary.by_provider.items()},
        "by_period": {row.period_name: _plain_usage(row.usage) for row in periods},
        "unpriced_models": dict(summary.unpriced_models),
        "seq": summary.seq,
    }


def _plain_usage(usage: Usage) -> dict[str, Any]:
    return {
        "requests": usage.requests,
        "errors": usage.errors,
        "cached": usage.cached,
        "unpriced": usage.unpriced,
        "tokens": asdict(usage.tokens),
        "cost": str(usage.cost),
        "saved": str(usage.saved),
        "average_latency_s": usage.average_latency_s,
        "p50_s": usage.latency_s(0.5),
        "p95_s": usage.latency_s(0.95),
        "p99_s": usage.latency_s(0.99),
    }
