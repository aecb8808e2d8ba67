"""Usage of models as one page of HTML that needs nothing else: figures, charts by day and model, tables."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import escape
from typing import Final

from parquedb.observability.ai.charts import COLOURS, Series, stacked_bars
from parquedb.observability.ai.periods import Granularity, period_name, period_start
from parquedb.observability.ai.requests import Moment
from parquedb.observability.ai.usage import Usage
from parquedb.observability.ai.usage_view import AIUsageView, UsageRow, UsageSummary

SERIES_MAX: Final = len(COLOURS) - 1
"""Models with a colour of their own; the others are one."""
PERIODS_MAX: Final = 400
"""Bars of a chart; of more periods the latest are shown."""

_STYLE: Final = """
:root{color-scheme:light dark;--text:#222;--quiet:#666;--page:#fff;--line:#ddd;--note:#fdf3e7}
@media(prefers-color-scheme:dark){:root{--text:#ddd;--quiet:#a3a8ae;--page:#181a1d;--line:#3d4146;--note:#33291d}}
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}
body{color:var(--text);background:var(--page)}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p.when{color:var(--quiet);margin:.2rem 0 1.5rem}
dl{display:grid;grid-template-columns:repeat(4,1fr);gap:.8rem;margin:0}
@media(max-width:700px){dl{grid-template-columns:repeat(2,1fr)}}
dl div{border:1px solid var(--line);border-radius:8px;padding:.6rem .8rem;min-width:0}
dt{color:var(--quiet);font-size:.8rem}dd{margin:0;font-size:1.2rem;overflow-wrap:anywhere}
dd,table{font-variant-numeric:tabular-nums}
figure{margin:1.5rem 0}figcaption{font-weight:600}.wide{overflow-x:auto}
svg{display:block;width:100%;min-width:700px;height:auto}svg text{font-size:12px;fill:var(--quiet)}
svg line{stroke:var(--line)}
ul.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;margin:.3rem 0;font-size:.87rem}
ul.legend li{overflow-wrap:anywhere}
ul.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
table{border-collapse:collapse;width:100%;font-size:.87rem}
th,td{text-align:right;padding:.3rem .5rem;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--quiet);font-weight:500}
th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:11rem}
p.note{border-left:4px solid #e08a3c;padding:.3rem .8rem;background:var(--note);overflow-wrap:anywhere}
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
    ]
    if rows:
        body += [
            _figures(summary),
            _unpriced(summary),
            _chart(rows, summary, view.granularity, what="Cost", unit="$", measure=lambda usage: float(usage.cost)),
            _chart(rows, summary, view.granularity, what="Tokens", unit="", measure=lambda usage: usage.tokens.total),
            "<h2>By model</h2>",
            _table("model", summary.by_model),
            "<h2>By provider</h2>",
            _table("provider", summary.by_provider),
        ]
    else:
        body.append(_nothing(summary))
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
        "95 % of latencies within": seconds(usage.latency_s(0.95)),
    }
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{value}</dd></div>' for name, value in figures.items())}</dl>"


def _nothing(summary: UsageSummary) -> str:
    """Say what to do where there is nothing to show."""
    if summary.seq:
        return '<p class="note">No requests in this time: ask for a longer one, or for another tenant.</p>'
    return (
        '<p class="note">No requests have been counted yet: record them with <code>record_ai_request</code>, or have '
        "<code>capture_ai_requests</code> do it, and refresh the view.</p>"
    )


def _unpriced(summary: UsageSummary) -> str:
    if not summary.unpriced_models:
        return ""
    names = ", ".join(f"{escape(name)} ({count:,})" for name, count in summary.unpriced_models.items())
    return f'<p class="note">Nobody knows the prices of {names}: these requests are not in the cost.</p>'


def _chart(  # noqa: PLR0913 - what is drawn, and how it is called
    rows: Sequence[UsageRow],
    summary: UsageSummary,
    granularity: Granularity,
    *,
    what: str,
    unit: str,
    measure: Callable[[Usage], float],
) -> str:
    """Draw a bar for each period; a model has the same colour in every chart, by its place among all models."""
    values: dict[datetime, dict[str, float]] = {}
    for row in rows:
        values.setdefault(row.group.period, {})[row.group.model] = measure(row.usage)
    shown = _periods(min(values), max(values), granularity)
    bars = [values.get(period, {}) for period in shown]
    ranking = list(summary.by_model)
    own, others = ranking[:SERIES_MAX], ranking[SERIES_MAX:]
    series = [Series(name, [models.get(name, 0.0) for models in bars], place) for place, name in enumerate(own)]
    if others:
        rest = [sum(models.get(name, 0.0) for name in others) for models in bars]
        series.append(Series(f"{len(others)} other{'s' * (len(others) > 1)}", rest, SERIES_MAX))
    drawn = [one for one in series if any(one.values)]
    title = f"{what} by {granularity} and model" + f", the latest {len(shown)}" * (shown[0] > min(values))
    return stacked_bars([period_name(at, granularity) for at in shown], drawn, title=title, unit=unit)


def _periods(first: datetime, last: datetime, granularity: Granularity) -> list[datetime]:
    """Return all periods between two, those without requests as well; of too many the latest."""
    found = [last]
    while found[-1] > first and len(found) < PERIODS_MAX:
        found.append(period_start(found[-1] - timedelta(microseconds=1), granularity))
    return found[::-1]


def _table(what: str, usages: Mapping[str, Usage]) -> str:
    heads = (
        what,
        "requests",
        "errors",
        "tokens in",
        "cached in",
        "tokens out",
        "reasoning",
        "median latency",
        "95 % within",
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
    return f'<div class="wide"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'
