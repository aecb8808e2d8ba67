"""The views of AI usage for coroutines: the same answers, together on one loop, and nothing lost by giving up."""

import asyncio
import inspect
import random
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from parquedb.errors import InvalidInputError, PermissionDeniedError
from parquedb.observability.ai import (
    ALL_TENANTS,
    AIRequest,
    AIRequestsView,
    AIUsageView,
    AsyncAIRequestsView,
    AsyncAIUsageView,
    PriceBook,
    Tokens,
    create_ai_usage_view,
    create_async_ai_usage_view,
    record_ai_request_async,
)
from parquedb.observability.ai.prices import NoPrices, custom_prices
from tests.support.view_database import AsyncViewDatabase, ViewDatabase

BOOK = PriceBook(custom_prices({"m": {"input": "2", "output": "10"}}), NoPrices())
NONE = PriceBook((), NoPrices())
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def db() -> AsyncIterator[AsyncViewDatabase]:
    database = AsyncViewDatabase()
    yield database
    await database.close()


def some(first: int, count: int) -> list[AIRequest]:
    return [
        AIRequest(
            id=f"r{number}",
            time=START + timedelta(hours=number),
            model="mn"[number % 2],
            provider="p",
            tokens=Tokens(1000, 100),
            latency_s=0.5 + number % 3,
            status="error" if number % 5 == 0 else "ok",
            error="Timeout" if number % 5 == 0 else None,
            tenant="t" if number % 4 == 0 else None,
        )
        for number in range(first, first + count)
    ]


async def test_both_forms_give_the_same_answers_and_leave_the_same_documents(db: AsyncViewDatabase) -> None:
    plain = ViewDatabase()

    def at_once() -> list[Any]:
        requests = AIRequestsView(plain, prices=BOOK, allow_cross_tenant=True, retention=timedelta(days=1))
        view = create_ai_usage_view(plain, prices=NONE, allow_cross_tenant=True)
        told = [requests.record_many(some(0, 60)), requests.record(some(7, 1)[0]), view.refresh().rows_counted]
        told += [requests.delete_expired(START + timedelta(days=2, hours=1)), view.refresh().rows_counted]
        told += [requests.record_many(some(60, 10)), view.refresh(full=True).rows_counted]
        told += [requests.statistics(tenant=ALL_TENANTS), requests.costs(by="model"), requests.errors()]
        told += [view.get_usage(), view.get_summary().usage, view.get_daily_costs(), view.get_tenant_summary().keys()]
        told += [[row["$id"] for row in requests.find(limit=7)]]
        plain.close()
        return told

    async def awaiting() -> list[Any]:
        requests = AsyncAIRequestsView(db, prices=BOOK, allow_cross_tenant=True, retention=timedelta(days=1))
        view = create_async_ai_usage_view(db, prices=NONE, allow_cross_tenant=True)
        told: list[Any] = [await requests.record_many(some(0, 60)), await requests.record(some(7, 1)[0])]
        told += [(await view.refresh()).rows_counted]
        told += [await requests.delete_expired(START + timedelta(days=2, hours=1)), (await view.refresh()).rows_counted]
        told += [await requests.record_many(some(60, 10)), (await view.refresh(full=True)).rows_counted]
        told += [await requests.statistics(tenant=ALL_TENANTS), await requests.costs(by="model")]
        told += [await requests.errors(), await view.get_usage(), (await view.get_summary()).usage]
        told += [await view.get_daily_costs(), (await view.get_tenant_summary()).keys()]
        told += [[row["$id"] async for row in requests.find(limit=7)]]
        return told

    expected = await asyncio.to_thread(at_once)
    assert await awaiting() == expected
    assert expected[0].stored == 60
    assert len(expected[-1]) > 7, "all pages were gone through"


async def test_refreshes_at_once_on_one_loop_count_each_request_once(db: AsyncViewDatabase) -> None:
    rng = random.Random(3)

    async def pause() -> None:
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)

    db.held_up = pause
    requests = AsyncAIRequestsView(db, prices=BOOK)
    for round_ in range(5):
        await requests.record_many(some(20 * round_, 20))
        views = [create_async_ai_usage_view(db, prices=NONE, allow_cross_tenant=True) for _ in range(4)]
        await asyncio.gather(*(view.refresh(full=rng.random() < 0.3) for view in views))
        summary = await views[0].get_summary()
        assert (summary.requests, summary.tokens.input) == (20 * (round_ + 1), 20_000 * (round_ + 1))


async def test_a_refresh_that_is_given_up_at_any_operation_leaves_what_the_next_one_goes_on_from(
    db: AsyncViewDatabase,
) -> None:
    requests, given_up = AsyncAIRequestsView(db, prices=BOOK), 0
    for operations in range(1, 14):
        await requests.record_many(some(10 * operations, 10))
        refreshing = asyncio.create_task(create_async_ai_usage_view(db, prices=NONE).refresh(full=operations % 2 == 0))
        left = operations

        async def give_up(refreshing: asyncio.Task[Any] = refreshing) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                refreshing.cancel()
                await asyncio.sleep(0)

        db.held_up = give_up
        given_up += (await asyncio.gather(refreshing, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        db.held_up = None
        view = create_async_ai_usage_view(db, prices=NONE, allow_cross_tenant=True)
        await view.refresh()
        assert (await view.get_summary()).requests == 10 * operations
    assert given_up >= 5


async def test_the_loop_goes_on_while_a_view_counts(db: AsyncViewDatabase) -> None:
    await AsyncAIRequestsView(db, prices=BOOK).record_many(some(0, 50))
    thread, threads = threading.get_ident(), set()

    class Watching(NoPrices):
        def rates(self, *arguments: Any, **options: Any) -> Any:
            threads.add(threading.get_ident())
            return super().rates(*arguments, **options)

    await create_async_ai_usage_view(db, prices=PriceBook((), Watching())).refresh(True, reprice=True)
    assert threads
    assert thread not in threads


async def test_one_request_is_recorded_by_its_facts(db: AsyncViewDatabase) -> None:
    view = AsyncAIRequestsView(db, prices=BOOK)
    id_ = await record_ai_request_async(view, model="m", provider="p", id="r1", input_tokens=1000, output_tokens=100)
    assert await record_ai_request_async(db, model="m", id="r1") == id_ == "r1"
    assert (await view.statistics()).cost == Decimal("0.003")
    with pytest.raises(InvalidInputError, match="record_ai_request"):
        await record_ai_request_async(view, model="m", colour="red")


async def test_errors_are_those_of_the_other_form(db: AsyncViewDatabase) -> None:
    view = create_async_ai_usage_view(db, prices=NONE)
    with pytest.raises(PermissionDeniedError):
        await view.get_usage(tenant="t")
    with pytest.raises(InvalidInputError, match="reprice"):
        await view.refresh(reprice=True)
    with pytest.raises(InvalidInputError, match="granularity"):
        create_async_ai_usage_view(db, granularity="year")


@pytest.mark.parametrize(("one", "other"), [(AIRequestsView, AsyncAIRequestsView), (AIUsageView, AsyncAIUsageView)])
def test_both_forms_have_the_same_methods_with_the_same_arguments_and_a_word_about_each(one: type, other: type) -> None:
    names = [name for name in vars(one) if not name.startswith("_")]
    assert names
    assert names == [name for name in vars(other) if not name.startswith("_")]
    for name in names:
        method, awaited = getattr(one, name), getattr(other, name)
        assert inspect.signature(method).parameters == inspect.signature(awaited).parameters
        assert method.__doc__ == awaited.__doc__
        assert method.__name__ == awaited.__name__ == name
        assert method.__doc__
