"""Usage of models by period, model, provider and tenant: kept up to date at the cost of what is new, read at once."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.observability.ai.periods import Granularity, check_granularity, period_name, period_start, utc
from parquedb.observability.ai.prices import CustomPrice, PriceBook, custom_prices
from parquedb.observability.ai.request import Cost, Tokens, tokens_of
from parquedb.observability.ai.requests import NAMESPACE, Moment, stored_cost
from parquedb.observability.ai.tenants import ALL_TENANTS, TenantScope
from parquedb.observability.ai.usage import Usage, UsageAggregation, UsageGroup, group_of
from parquedb.observability.views.database import Database
from parquedb.observability.views.incremental import IncrementalView, Refreshed
from parquedb.steps import Steps, at_once, awaited

_UNPRICED_MAX: Final = 100
_GROUPINGS: Final = ("period", "tenant", "provider", "model")


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one group.

    Attributes:
        group: Which requests it counts.
        period_name: The period as people write it: `2026-11-26T13`, `2026-11-26`, `2026-W48`, `2026-11`.
        usage: What they come to.
    """

    group: UsageGroup
    period_name: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class DailyCost:
    """What one day cost.

    Attributes:
        day: Its midnight, UTC.
        usage: Of all models.
        by_model: Of each.
    """

    day: datetime
    usage: Usage
    by_model: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """Usage over some time.

    Attributes:
        from_: Start of the first period counted; None for the first there is.
        to: End of the time asked for (exclusive); None for ever.
        usage: Of all.
        by_model: Of each model, the dearest first.
        by_provider: Of each provider, the dearest first.
        unpriced_models: Models that have requests whose price nobody knows, with how many.
        seq: Of the last change of the requests that is counted.
        refreshed_at: When the view was last refreshed; None if never.
    """

    from_: datetime | None
    to: datetime | None
    usage: Usage
    by_model: Mapping[str, Usage]
    by_provider: Mapping[str, Usage]
    unpriced_models: Mapping[str, int] = field(default_factory=dict)
    seq: int = 0
    refreshed_at: datetime | None = None

    @property
    def requests(self) -> int:
        """Requests counted."""
        return self.usage.requests

    @property
    def errors(self) -> int:
        """Those that failed."""
        return self.usage.errors

    @property
    def tokens(self) -> Tokens:
        """Their tokens."""
        return self.usage.tokens

    @property
    def average_latency_s(self) -> float | None:
        """Their mean latency, seconds."""
        return self.usage.average_latency_s

    @property
    def estimated_total_cost(self) -> Decimal:
        """US dollars, without requests of unknown prices."""
        return self.usage.cost


class UsageSteps:
    """Usage by period, model, provider and tenant, by steps that either client carries out; see `AIUsageView`."""

    def __init__(
        self,
        db: Database,
        *,
        granularity: Granularity = "day",
        prices: PriceBook | None = None,
        requests: str = NAMESPACE,
        namespace: str | None = None,
        tenant: str | None = None,
        allow_cross_tenant: bool = False,
    ) -> None:
        """Describe a view; use `create_ai_usage_view`."""
        self.granularity = granularity
        self.scope = TenantScope(tenant, allow_cross_tenant)
        self._prices = PriceBook() if prices is None else prices
        self._source = db.collection(requests)
        self._documents = db.collection(namespace or f"ai_usage_{granularity}")
        self._view = self._made(self._price)

    def _refresh(self, full: bool = False, *, reprice: bool = False) -> Steps[Refreshed]:
        """Count the requests that are new.

        Args:
            full: Count all that are stored anew instead.
            reprice: With `full`, at the prices known now instead of those that were stored with the requests.

        Raises:
            InvalidInputError: `reprice` without `full`.
            ViewError: other processes kept changing the view.
        """
        if reprice and not full:
            raise InvalidInputError("reprice: counts everything anew, so it needs full=True", field="reprice")
        view = self._made(self._price_now) if reprice else self._view
        return (yield from view.refresh(full=full))

    def _get_usage(
        self,
        from_: Moment | None = None,
        to: Moment | None = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        tenant: str | None = None,
        group_by: Iterable[str] = _GROUPINGS,
    ) -> Steps[list[UsageRow]]:
        """Return usage by group, in order of period, tenant, provider and model.

        Args:
            from_: Periods that hold this time or are later.
            to: Periods that begin before this time.
            model: Of this model alone.
            provider: Of this provider alone.
            tenant: Whose; the view's own by default, `ALL_TENANTS` for everybody's.
            group_by: Some of `period`, `tenant`, `provider`, `model`; the others are summed up and left empty.

        Raises:
            PermissionDeniedError: the requests are another tenant's, and the view may not read those.
            InvalidInputError: an argument is not understood.
        """
        wanted = frozenset(group_by)
        if not wanted <= set(_GROUPINGS):
            raise InvalidInputError(f"group_by: expected some of {', '.join(_GROUPINGS)}", field="group_by")
        found: dict[tuple[Any, ...], Usage] = {}
        for group, usage in (yield from self._groups(from_, to, model=model, provider=provider, tenant=tenant))[1]:
            key = tuple(getattr(group, name) if name in wanted else None for name in _GROUPINGS)
            found.setdefault(key, Usage()).add(usage)
        rows = [
            UsageRow(
                UsageGroup(period, who, offered_by or "", name or ""),
                "" if period is None else period_name(period, self.granularity),
                usage,
            )
            for (period, who, offered_by, name), usage in found.items()
        ]
        return sorted(
            rows, key=lambda row: (row.period_name, row.group.tenant or "", row.group.provider, row.group.model)
        )

    def _get_summary(
        self,
        from_: Moment | None = None,
        to: Moment | None = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        tenant: str | None = None,
    ) -> Steps[UsageSummary]:
        """Return usage over some time; arguments and errors as of `get_usage`."""
        state, groups = yield from self._groups(from_, to, model=model, provider=provider, tenant=tenant)
        return UsageSummary(
            None if from_ is None else period_start(utc(from_, "from_"), self.granularity),
            None if to is None else utc(to, "to"),
            *_totals(groups),
            seq=0 if state is None else state.seq,
            refreshed_at=None if state is None else state.refreshed_at,
        )

    def _get_daily_costs(
        self, from_: Moment | None = None, to: Moment | None = None, *, tenant: str | None = None
    ) -> Steps[list[DailyCost]]:
        """Return what each day cost, oldest first; days without requests are left out. Arguments as of `get_usage`.

        Raises:
            InvalidInputError: the view counts by weeks or months.
        """
        if self.granularity not in {"hour", "day"}:
            raise InvalidInputError(f"a view by {self.granularity} knows no days; make one by day", field="granularity")
        days: dict[datetime, dict[str, Usage]] = {}
        for group, usage in (yield from self._groups(from_, to, tenant=tenant))[1]:
            models = days.setdefault(period_start(group.period, "day"), {})
            models.setdefault(group.model, Usage()).add(usage)
        return [DailyCost(day, _sum(models.values()), _dearest_first(models)) for day, models in sorted(days.items())]

    def _get_tenant_summary(
        self, from_: Moment | None = None, to: Moment | None = None, *, tenant: str = ALL_TENANTS
    ) -> Steps[dict[str | None, UsageSummary]]:
        """Return a summary for each tenant, the dearest first; arguments as of `get_usage`.

        Raises:
            PermissionDeniedError: the view may not read other tenants' requests.
        """
        state, groups = yield from self._groups(from_, to, tenant=tenant)
        by_tenant: dict[str | None, list[tuple[UsageGroup, Usage]]] = {}
        for group, usage in groups:
            by_tenant.setdefault(group.tenant, []).append((group, usage))
        first = None if from_ is None else period_start(utc(from_, "from_"), self.granularity)
        last = None if to is None else utc(to, "to")
        seq, at = (0, None) if state is None else (state.seq, state.refreshed_at)
        found = {
            who: UsageSummary(first, last, *_totals(its), seq=seq, refreshed_at=at) for who, its in by_tenant.items()
        }
        return dict(sorted(found.items(), key=lambda item: (-item[1].usage.cost, item[0] or "")))

    def _groups(
        self, from_: Moment | None, to: Moment | None, *, tenant: str | None, **equal: str | None
    ) -> Steps[tuple[Any, list[tuple[UsageGroup, Usage]]]]:
        condition = self.scope.condition(tenant) | {name: value for name, value in equal.items() if value is not None}
        period: dict[str, datetime] = {}
        if from_ is not None:
            period["$gte"] = period_start(utc(from_, "from_"), self.granularity)
        if to is not None:
            period["$lt"] = utc(to, "to")
        state, found = yield from self._view.read(condition | ({"period": period} if period else {}))
        return state, [(group_of(key), usage) for key, usage in found]

    def _made(self, price: Callable[[Mapping[str, Any]], Cost]) -> IncrementalView[Usage]:
        return IncrementalView(self._source, self._documents, UsageAggregation(self.granularity, price))

    def _price(self, row: Mapping[str, Any]) -> Cost:
        """Return the cost of a stored request: by own prices, else as stored, else as the library knows it now."""
        stored = stored_cost(row)
        if stored is None or self._prices.custom.rates(row.get("provider", ""), row["model"], row["time"]) is not None:
            return self._price_now(row)
        return stored

    def _price_now(self, row: Mapping[str, Any]) -> Cost:
        cached = bool(row.get("cached"))
        return self._prices.price(row.get("provider", ""), row["model"], row["time"], tokens_of(row), cached=cached)


class AIUsageView(UsageSteps):
    """Usage by period, model, provider and tenant. Any number of processes may refresh and read it.

    Reads see the view as it was when it was last refreshed, as of one moment.
    """

    refresh = at_once(UsageSteps._refresh)
    get_usage = at_once(UsageSteps._get_usage)
    get_summary = at_once(UsageSteps._get_summary)
    get_daily_costs = at_once(UsageSteps._get_daily_costs)
    get_tenant_summary = at_once(UsageSteps._get_tenant_summary)


class AsyncAIUsageView(UsageSteps):
    """Usage in a database of the asynchronous client: the methods of `AIUsageView`, to be awaited."""

    refresh = awaited(UsageSteps._refresh)
    get_usage = awaited(UsageSteps._get_usage)
    get_summary = awaited(UsageSteps._get_summary)
    get_daily_costs = awaited(UsageSteps._get_daily_costs)
    get_tenant_summary = awaited(UsageSteps._get_tenant_summary)


def create_ai_usage_view(
    db: Database,
    *,
    granularity: str = "day",
    custom_pricing: Mapping[str, Mapping[str, Any]] | Iterable[CustomPrice] | None = None,
    prices: PriceBook | None = None,
    requests: str = NAMESPACE,
    namespace: str | None = None,
    tenant: str | None = None,
    allow_cross_tenant: bool = False,
) -> AIUsageView:
    """Return a view of usage; it is made, or found, by its first refresh.

    Args:
        db: A database of the synchronous client.
        granularity: `hour`, `day`, `week` or `month`, of UTC.
        custom_pricing: Prices of one's own, on top of all others; see `custom_prices`. New ones hold for what is
            counted from then on, and for all after a full refresh.
        prices: Prices of other requests than those; the library's by default.
        requests: Namespace of the requests.
        namespace: Of the view; `ai_usage_day` and the like by default.
        tenant: Reads are of this tenant's requests; of those without a tenant by default.
        allow_cross_tenant: Whether reads may be of other tenants' as well; without a `tenant` they then are of all.

    Raises:
        InvalidInputError: an argument is not understood.
    """
    return AIUsageView(
        db,
        granularity=check_granularity(granularity),
        prices=_book(custom_pricing, prices),
        requests=requests,
        namespace=namespace,
        tenant=tenant,
        allow_cross_tenant=allow_cross_tenant,
    )


def create_async_ai_usage_view(
    db: Database,
    *,
    granularity: str = "day",
    custom_pricing: Mapping[str, Mapping[str, Any]] | Iterable[CustomPrice] | None = None,
    prices: PriceBook | None = None,
    **options: Any,
) -> AsyncAIUsageView:
    """Return a view of usage in a database of the asynchronous client; arguments of `create_ai_usage_view`."""
    book = _book(custom_pricing, prices)
    return AsyncAIUsageView(db, granularity=check_granularity(granularity), prices=book, **options)


def _book(
    custom_pricing: Mapping[str, Mapping[str, Any]] | Iterable[CustomPrice] | None, prices: PriceBook | None
) -> PriceBook:
    book = PriceBook() if prices is None else prices
    if custom_pricing is not None:
        book = PriceBook((*custom_prices(custom_pricing), *book.custom.prices), book.source)
    return book


def _totals(
    groups: Iterable[tuple[UsageGroup, Usage]],
) -> tuple[Usage, dict[str, Usage], dict[str, Usage], dict[str, int]]:
    """Return the usage of all, by model, by provider, and the requests of unknown price by model."""
    total = Usage()
    models: dict[str, Usage] = {}
    providers: dict[str, Usage] = {}
    for group, usage in groups:
        total.add(usage)
        models.setdefault(group.model, Usage()).add(usage)
        providers.setdefault(group.provider, Usage()).add(usage)
    unpriced = {name: usage.unpriced for name, usage in models.items() if usage.unpriced}
    most = sorted(unpriced.items(), key=lambda item: (-item[1], item[0]))[:_UNPRICED_MAX]
    return total, _dearest_first(models), _dearest_first(providers), dict(most)


def _dearest_first(found: Mapping[str, Usage]) -> dict[str, Usage]:
    return dict(sorted(found.items(), key=lambda item: (-item[1].cost, -item[1].requests, item[0])))


def _sum(usages: Iterable[Usage]) -> Usage:
    total = Usage()
    for usage in usages:
        total.add(usage)
    return total
