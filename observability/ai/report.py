"""Usage of models as one page of HTML that needs nothing else: figures, charts by day and model, tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import Final

from parquedb.observability.ai.charts import COLOURS, Series, stacked_bars
from parquedb.observability.ai.requests import Moment
from parquedb.observability.ai.usage import Usage
from parquedb.observability.ai.usage_view import AIUsageView, UsageRow, UsageSummary

SERIES_MAX: Final = len(COLOURS) - 1
"""Models with a colour of their own; the others are one."""
PERIODS_MAX: Final = 400
"""Bars of a chart; of more periods the latest are shown."""

_STYLE: Final = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p.when{color:#666;margin:.2rem 0 1.5rem}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:.8rem;margin:0}
dl div{border:1px solid #ddd;border-radius:8px;padding:.6rem .8rem}dt{color:#666;font-size:.8rem}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
figure{margin:1.5rem 0}figcaption{font-weight:600}svg{width:100%;height:auto}svg text{font-size:12px;fill:#666}
svg line{stroke:#ddd}ul.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;margin:.3rem 0}
ul.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.3rem .5rem;border-bottom:1px solid #eee}
td{white-space:nowrap}th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
p.note{border-left:4px solid #e08a3c;padding:.3rem .8rem;background:#fdf3e7;color:#222}
@media(prefers-color-scheme:dark){body{background:#181a1d;color:#ddd}dl div,svg line{border-color:#444;stroke:#444}
th,td{border-color:#333}}
"""


def ai_usage_report(
    view: AIUsageView, from_: Moment | None = None, to: Moment | None = None, *, tenant: str | None = None
) -> str:
    """Return a page about what the view holds; arguments and errors as of `AIUsageView.get_usage`."""
    summary = view.get_summary(from_, to, tenant=tenant)
    rows = view.get_usage(from_, to, tenant=tenant, group_by=("period", "model"))
    of = "all tenants" if view.scope.condition(tenant) == {} else f"tenant {tenant or view.scope.tenant or '(none)'}"
    body = [
        f"<h1>AI usage by {view.granularity}</h1>",
        f'<p class="when">{escape(_when(summary))}, {escape(of)}</p>',
        _figures(summary),
        _unpriced(summary),
    ]
    models = list(summary.by_model)
    if rows:
        body += [
            _chart(rows, models, f"Cost by {view.granularity} and model", "$", lambda usage: float(usage.cost)),
            _chart(rows, models, f"Tokens by {view.granularity} and model", "", lambda usage: usage.tokens.total),
            "<h2>By model</h2>",
            _table("model", summary.by_model),
            "<h2>By provider</h2>",
            _table("provider", summary.by_provider),
        ]
    else:
        body.append("<p>No requests in this time.</p>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>AI usage</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def money(amount: Decimal) -> str:
    """Word US dollars: cents from a dollar on, else four significant digits."""
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    return f"${float(amount):.4g}"


def seconds(value: float | None) -> str:
    """Word a latency."""
    return "-" if value is None else f"{value:,.2f} s" if value >= 1 else f"{value * 1000:,.0f} ms"


def _when(summary: UsageSummary) -> str:
    since = "the first request" if summary.from_ is None else f"{summary.from_:%Y-%m-%d %H:%M}"
    until = "now" if summary.to is None else f"{summary.to:%Y-%m-%d %H:%M}"
    at = summary.refreshed_at or datetime.now(UTC)
    return f"From {since} to {until} (UTC), as of {at:%Y-%m-%d %H:%M} (change {summary.seq:,})"


def _figures(summary: UsageSummary) -> str:
    usage = summary.usage
    figures = {
        "Cost": money(usage.cost),
        "Saved by caches": money(usage.saved),
        "Requests": f"{usage.requests:,}",
        "Errors": f"{usage.errors:,} ({usage.error_rate:.1%})",
        "Tokens in": f"{usage.tokens.input:,}",
        "Tokens out": f"{usage.tokens.output:,}",
        "Average latency": seconds(usage.average_latency_s),
        "95 % within": seconds(usage.latency_s(0.95)),
    }
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{value}</dd></div>' for name, value in figures.items())}</dl>"


def _unpriced(summary: UsageSummary) -> str:
    if not summary.unpriced_models:
        return ""
    names = ", ".join(f"{escape(name)} ({count:,})" for name, count in summary.unpriced_models.items())
    return f'<p class="note">Nobody knows the prices of {names}: these requests are not in the cost.</p>'


def _chart(
    rows: Iterable[UsageRow], ranking: Sequence[str], title: str, unit: str, measure: Callable[[Usage], float]
) -> str:
    """Draw a bar for each period; a model has the same colour in every chart, by its place in the ranking."""
    periods: dict[str, dict[str, float]] = {}
    for row in rows:
        periods.setdefault(row.period_name, {})[row.group.model] = measure(row.usage)
    shown = list(periods.items())[-PERIODS_MAX:]
    own, others = ranking[:SERIES_MAX], ranking[SERIES_MAX:]
    series = [Series(name, [models.get(name, 0.0) for _, models in shown], place) for place, name in enumerate(own)]
    if others:
        rest = [sum(models.get(name, 0.0) for name in others) for _, models in shown]
        series.append(Series(f"{len(others)} others", rest, SERIES_MAX))
    drawn = [one for one in series if any(one.values)]
    return stacked_bars([name for name, _ in shown], drawn, title=title, unit=unit)


def _table(what: str, usages: Mapping[str, Usage]) -> str:
    heads = (
        what,
        "requests",
        "errors",
        "tokens in",
        "cached in",
        "tokens out",
        "reasoning",
        "p50",
        "p95",
        "saved",
        "cost",
    )
    lines = ["".join(f"<th>{head}</th>" for head in heads)]
    for name, usage in usages.items():
        cells = (
            escape(name) or "(none)",
            f"{usage.requests:,}",
            f"{usage.errors:,}",
            f"{usage.tokens.input:,}",
            f"{usage.tokens.cache_read:,}",
            f"{usage.tokens.output:,}",
            f"{usage.tokens.reasoning:,}",
            seconds(usage.latency_s(0.5)),
            seconds(usage.latency_s(0.95)),
            money(usage.saved),
            "unknown" if usage.unpriced == usage.requests else money(usage.cost),
        )
        lines.append("".join(f"<td>{cell}</td>" for cell in cells))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
