"""The view of usage: periods of UTC, groups, prices that stay as they were, tenants that stay apart."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest

from parquedb.errors import InvalidInputError, PermissionDeniedError, ViewError
from parquedb.observability.ai import (
    ALL_TENANTS,
    AIRequest,
    AIRequestsView,
    PriceBook,
    Tokens,
    create_ai_usage_view,
)
from parquedb.observability.ai.periods import period_name, period_start
from parquedb.observability.ai.prices import NoPrices, custom_prices
from tests.support.view_database import ViewDatabase

BOOK = PriceBook(custom_prices({"m": {"input": "2", "output": "10"}}), NoPrices())
NONE = PriceBook((), NoPrices())


@pytest.fixture
def db() -> Iterator[ViewDatabase]:
    database = ViewDatabase()
    yield database
    database.close()


def record(db: ViewDatabase, *requests: dict[str, Any], book: PriceBook = BOOK) -> None:
    made = []
    for facts in requests:
        record.count += 1  # type: ignore[attr-defined]
        given = {"model": "m", "provider": "p", "tokens": Tokens(1000, 100), "time": datetime(2026, 3, 1, tzinfo=UTC)}
        made.append(AIRequest(id=f"r{record.count}", **{**given, **facts}))  # type: ignore[attr-defined]
    assert AIRequestsView(db, prices=book).record_many(made).stored == len(made)


record.count = 0  # type: ignore[attr-defined]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("granularity", "moment", "name", "start"),
    [
        ("hour", "2026-03-29T01:59:59.999999", "2026-03-29T01", "2026-03-29T01:00"),
        ("day", "2024-02-29T23:59:59", "2024-02-29", "2024-02-29"),
        ("week", "2026-12-31T12:00", "2026-W53", "2026-12-28"),
        ("week", "2027-01-03T23:59", "2026-W53", "2026-12-28"),
        ("week", "2027-01-04T00:00", "2027-W01", "2027-01-04"),
        ("week", "2024-12-30T00:00", "2025-W01", "2024-12-30"),
        ("week", "2021-01-01T00:00", "2020-W53", "2020-12-28"),
        ("month", "2026-12-31T23:59:59", "2026-12", "2026-12-01"),
    ],
)
def test_a_time_belongs_to_its_period_of_utc(granularity: Any, moment: str, name: str, start: str) -> None:
    assert period_start(at(moment), granularity) == at(start)
    assert period_name(at(start), granularity) == name


def test_a_local_time_counts_in_the_day_that_utc_had(db: ViewDatabase) -> None:
    tokyo = timezone(timedelta(hours=9))
    record(db, {"time": datetime(2026, 3, 2, 8, 59, tzinfo=tokyo)}, {"time": datetime(2026, 3, 2, 9, tzinfo=tokyo)})
    view = create_ai_usage_view(db, prices=NONE)
    view.refresh()
    assert [row.period_name for row in view.get_usage()] == ["2026-03-01", "2026-03-02"]


def test_a_summary_tells_counts_tokens_latencies_and_money_by_model_and_provider(db: ViewDatabase) -> None:
    record(
        db,
        {"latency_s": 1.0, "tokens": Tokens(1000, 100, cache_read=400, reasoning=50)},
        {"latency_s": 3.0, "status": "error"},
        {"model": "n", "provider": "q"},
        {"cached": True},
        {"time": at("2026-03-03")},
    )
    view = create_ai_usage_view(db, prices=NONE)
    view.refresh()
    summary = view.get_summary("2026-03-01", date(2026, 3, 2))
    assert (summary.requests, summary.errors, summary.average_latency_s) == (4, 1, 2.0)
    assert summary.estimated_total_cost == Decimal("0.006")
    assert summary.usage.saved == Decimal("0.003")
    assert summary.tokens == Tokens(4000, 400, cache_read=400, reasoning=50)
    assert summary.tokens.total == 4400
    assert list(summary.by_model) == ["m", "n"]
    assert {name: usage.requests for name, usage in summary.by_provider.items()} == {"p": 3, "q": 1}
    assert summary.unpriced_models == {"n": 1}
    assert summary.usage.latency_s(1.0) == pytest.approx(3.0, rel=0.011)
    assert view.get_summary().requests == 5


def test_usage_is_grouped_as_asked_for(db: ViewDatabase) -> None:
    record(db, {}, {"model": "n"}, {"time": at("2026-03-02")}, {"provider": "q"})
    view = create_ai_usage_view(db, prices=NONE)
    view.refresh()
    rows = view.get_usage(group_by=["model"])
    assert [(row.group.model, row.group.period, row.usage.requests) for row in rows] == [("m", None, 3), ("n", None, 1)]
    assert [row.usage.requests for row in view.get_usage(group_by=["period"])] == [3, 1]
    assert len(view.get_usage()) == 4
    assert [row.usage.requests for row in view.get_usage(model="m", provider="p")] == [1, 1]
    with pytest.raises(InvalidInputError):
        view.get_usage(group_by=["user"])


def test_daily_costs_come_from_hours_and_days_only(db: ViewDatabase) -> None:
    record(db, {"time": at("2026-03-01T01:00")}, {"time": at("2026-03-01T23:00")}, {"time": at("2026-03-02")})
    for granularity in ("hour", "day"):
        view = create_ai_usage_view(db, granularity=granularity, prices=NONE)
        view.refresh()
        costs = [(one.day.day, one.usage.cost, list(one.by_model)) for one in view.get_daily_costs()]
        assert costs == [(1, Decimal("0.006"), ["m"]), (2, Decimal("0.003"), ["m"])]
    with pytest.raises(InvalidInputError, match="knows no days"):
        create_ai_usage_view(db, granularity="week").get_daily_costs()
    with pytest.raises(InvalidInputError, match="granularity"):
        create_ai_usage_view(db, granularity="year")


def test_new_prices_leave_what_was_counted_until_a_full_refresh_is_asked_for(db: ViewDatabase) -> None:
    record(db, {})
    create_ai_usage_view(db, prices=NONE).refresh()
    dearer = create_ai_usage_view(db, prices=NONE, custom_pricing={"m": {"input": "4", "output": "20"}})
    dearer.refresh()
    assert dearer.get_summary().estimated_total_cost == Decimal("0.003")
    record(db, {})
    dearer.refresh()
    summary = dearer.get_summary()
    assert summary.estimated_total_cost == Decimal("0.009")
    assert sorted(summary.usage.price_versions.values()) == [1, 1]
    dearer.refresh(full=True)
    assert dearer.get_summary().estimated_total_cost == Decimal("0.012")


def test_a_full_refresh_keeps_stored_costs_unless_told_to_price_anew(db: ViewDatabase) -> None:
    record(db, {}, {"model": "n"})
    later = PriceBook((), PriceBook(custom_prices({"*": {"input": "1", "output": "0"}}), NoPrices()).custom)
    view = create_ai_usage_view(db, prices=later)
    view.refresh()
    before = view.get_summary()
    # The price of "n" is known by now.
    assert (before.estimated_total_cost, before.unpriced_models) == (Decimal("0.004"), {})
    view.refresh(full=True)
    assert view.get_summary().usage == before.usage
    view.refresh(full=True, reprice=True)
    assert view.get_summary().estimated_total_cost == Decimal("0.002")
    with pytest.raises(InvalidInputError, match="full=True"):
        view.refresh(reprice=True)


def test_tenants_are_apart_unless_allowed(db: ViewDatabase) -> None:
    record(db, {"tenant": "a"}, {"tenant": "b"}, {"tenant": "b"}, {})
    create_ai_usage_view(db, prices=NONE).refresh()
    assert create_ai_usage_view(db).get_summary().requests == 1
    mine = create_ai_usage_view(db, tenant="a")
    assert mine.get_summary().requests == mine.get_summary(tenant="a").requests == 1
    for refused in (
        lambda: mine.get_summary(tenant="b"),
        lambda: mine.get_usage(tenant=ALL_TENANTS),
        lambda: mine.get_daily_costs(tenant="b"),
        mine.get_tenant_summary,
    ):
        with pytest.raises(PermissionDeniedError, match="tenant 'a'"):
            refused()
    admin = create_ai_usage_view(db, allow_cross_tenant=True)
    assert admin.get_summary().requests == 4
    assert admin.get_summary(tenant="b").requests == 2
    assert {who: one.requests for who, one in admin.get_tenant_summary().items()} == {"b": 2, None: 1, "a": 1}


def test_names_that_look_alike_are_groups_of_their_own(db: ViewDatabase) -> None:
    record(db, {"provider": "ab", "model": "c"}, {"provider": "a", "model": "bc"}, {"provider": "a", "model": "bc/é"})
    view = create_ai_usage_view(db, prices=NONE)
    view.refresh()
    assert [row.usage.requests for row in view.get_usage()] == [1, 1, 1]


def test_a_view_before_its_first_refresh_is_empty(db: ViewDatabase) -> None:
    view = create_ai_usage_view(db)
    assert (view.get_usage(), view.get_summary().requests, view.get_summary().refreshed_at) == ([], 0, None)


def test_a_namespace_of_another_view_is_refused(db: ViewDatabase) -> None:
    create_ai_usage_view(db, namespace="v").refresh()
    with pytest.raises(ViewError, match="use another namespace"):
        create_ai_usage_view(db, namespace="v", granularity="hour").refresh()


def test_a_view_of_another_source_is_refused(db: ViewDatabase) -> None:
    record(db, {})
    create_ai_usage_view(db, namespace="v").refresh()
    with pytest.raises(ViewError, match="is not the one it was made from"):
        create_ai_usage_view(db, namespace="v", requests="others").refresh()


def test_forgotten_changes_lead_to_a_rebuild_with_the_same_totals() -> None:
    db = ViewDatabase(history_bytes_max=0, checkpoint_entries_max=1)
    view = create_ai_usage_view(db, prices=NONE)
    view.refresh()
    for _ in range(3):
        record(db, {}, {"time": at("2026-03-02")})
        db.do(db.owner("ai_requests").flush())
    done = view.refresh()
    assert view.get_summary().requests == 6
    assert done.rebuilt
    db.close()


def test_a_refresh_costs_what_is_new(db: ViewDatabase) -> None:
    record(db, *({"time": at("2026-03-01") + timedelta(hours=number)} for number in range(500)))
    view = create_ai_usage_view(db, prices=NONE)
    whole = view.refresh()
    assert (whole.rows_read, whole.rebuilt) == (500, True)
    record(db, *({"time": at("2026-04-01")} for _ in range(5)))
    few = view.refresh()
    assert (few.rows_read, few.groups_written, few.rebuilt) == (5, 2, False)
    db.calls.clear()
    none = view.refresh()
    assert (none.rows_read, none.groups_written) == (0, 0)
    assert {kind for _, kind in db.calls} == {"get", "changes"}


def test_money_is_exact_whatever_context_the_application_has_set(db: ViewDatabase) -> None:
    with localcontext(Context(prec=3)):
        record(db, *[{"tokens": Tokens(1_234_567, 0)}] * 7)
        view = create_ai_usage_view(db, prices=NONE)
        view.refresh()
        total = view.get_summary().estimated_total_cost
    assert total == 7 * Decimal("2.469134")
