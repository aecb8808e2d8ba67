"""`parquedb usage`: what requests to models came to, as tables and bars or as a page of HTML."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.bar import Bar
from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.opening import opened
from parquedb.cluster.cli.tables import FittedTable
from parquedb.cluster.cli.terminal import output
from parquedb.cluster.cli.wording import counted
from parquedb.errors import CollectionNotFoundError, ConfigurationError
from parquedb.observability.ai.charts import compact
from parquedb.observability.ai.prices import load_custom_prices
from parquedb.observability.ai.report import ai_usage_report, money, seconds
from parquedb.observability.ai.requests import NAMESPACE
from parquedb.observability.ai.tenants import ALL_TENANTS
from parquedb.observability.ai.usage import Usage
from parquedb.observability.ai.usage_view import AIUsageView, UsageRow, UsageSummary, create_ai_usage_view

_BAR_WIDTH: Final = 40
_PERIODS_MAX: Final = 60
"""Periods that are printed; more of them fill screen after screen, and are summed up in one line."""

_NARROW: Final = 100
"""Columns of a terminal below which some of a table's are left out, so that no number is cut."""


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
    screen: Console = field(default_factory=output)

    def run(self) -> bool:
        """Refresh the view and show it.

        Raises:
            CollectionNotFoundError: no request was ever recorded there.
            ParqueDBError: the database cannot be had, or an argument is not understood.
        """
        with opened(self.url) as db:
            if NAMESPACE not in db.namespaces():
                message = (
                    f"no requests to models are stored in {db.url}; record_ai_request and capture_ai_requests do that"
                )
                raise CollectionNotFoundError(message, namespace=NAMESPACE)
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
        if not summary.requests:
            advice = "ask for a longer time (--from, --to), or for another --tenant"
            self.screen.print(f"no requests in this time: {advice}" if summary.seq else "no requests are stored yet")
            return
        self._tell(summary)
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
            counted(usage.requests, "request"),
            f"{counted(usage.errors, 'error')} ({usage.error_rate:.1%})",
            f"{usage.tokens.input:,} tokens in, {usage.tokens.output:,} out",
            f"{seconds(usage.average_latency_s)} on average",
        ]
        self.screen.print(", ".join(facts))
        for model, count in summary.unpriced_models.items():
            missing = f"{counted(count, 'request')} {'is' if count == 1 else 'are'} not in the cost"
            self.screen.print(f"[yellow]no price is known for {escape(model)}[/]: {missing}")

    def _tell_periods(self, rows: list[UsageRow]) -> None:
        table = FittedTable(self.granularity, ">requests", ">errors", ">tokens", ">cost", "", header_style="dim")
        earlier, shown = rows[:-_PERIODS_MAX], rows[-_PERIODS_MAX:]
        most = max((row.usage.cost for row in shown), default=0)
        if earlier:
            self._tell_earlier(earlier)
        for row in shown:
            usage = row.usage
            bar = Bar(float(most), 0, float(usage.cost), width=_BAR_WIDTH, color="blue") if most else ""
            cells = (f"{usage.requests:,}", f"{usage.errors:,}", compact(usage.tokens.total), money(usage.cost))
            table.add_row(row.period_name, *cells, bar)
        self.screen.print()
        self.screen.print(table)

    def _tell_earlier(self, rows: list[UsageRow]) -> None:
        total = Usage()
        for row in rows:
            total.add(row.usage)
        self.screen.print()
        self.screen.print(
            f"[dim]{counted(len(rows), f'earlier {self.granularity}')}: {counted(total.requests, 'request')}, "
            f"{money(total.cost)} (see --by, --from and --to)[/]"
        )

    def _tell_models(self, models: Mapping[str, Usage]) -> None:
        wide = self.screen.width >= _NARROW
        names = (">requests", ">errors", ">tokens in", *((">cached in",) if wide else ()), ">tokens out")
        more = (">median", ">95 % in") if wide else ()
        table = FittedTable("model", *names, *more, ">cost", header_style="dim")
        for model, usage in models.items():
            table.add_row(
                escape(model) or "(none)",
                f"{usage.requests:,}",
                f"{usage.errors:,}",
                compact(usage.tokens.input),
                *((compact(usage.tokens.cache_read),) if wide else ()),
                compact(usage.tokens.output),
                *(map(seconds, (usage.latency_s(0.5), usage.latency_s(0.95))) if wide else ()),
                "unknown" if usage.unpriced == usage.requests else money(usage.cost),
            )
        self.screen.print()
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
