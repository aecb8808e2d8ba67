"""Recording requests: once each, redacted first, sampled by id, forgotten when they are old."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from parquedb.clock import SystemClock
from parquedb.errors import InvalidInputError, PermissionDeniedError
from parquedb.ids import UlidSource
from parquedb.observability.ai import (
    AIRequest,
    AIRequestsView,
    PriceBook,
    Tokens,
    create_ai_usage_view,
    record_ai_request,
    requests,
)
from parquedb.observability.ai.prices import NoPrices, custom_prices
from tests.support.view_database import ViewDatabase

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
BOOK = PriceBook(custom_prices({"m": {"input": "2", "output": "10"}}), NoPrices())


@pytest.fixture
def db() -> Iterator[ViewDatabase]:
    database = ViewDatabase()
    yield database
    database.close()


def request(number: int, **facts: Any) -> AIRequest:
    given = {"time": NOW, "model": "m", "provider": "p", "tokens": Tokens(1000, 100), **facts}
    return AIRequest(id=f"r{number}", **given)


def test_a_request_is_stored_with_its_cost_and_the_prices_it_was_computed_with(db: ViewDatabase) -> None:
    id_ = record_ai_request(
        AIRequestsView(db, prices=BOOK),
        model="m",
        provider="p",
        input_tokens=1000,
        output_tokens=100,
        latency_s=1.5,
        user="ada",
        type="embed",
    )
    [stored] = AIRequestsView(db).find()
    assert stored["$id"] == f"ai_requests/{id_}"
    assert stored["cost"] == Decimal("0.003")
    assert isinstance(stored["cost"], Decimal)
    assert stored["price_version"] == BOOK.custom.version
    assert (stored["user"], stored["type"], stored["latency_s"], stored["cached"]) == ("ada", "embed", 1.5, False)
    assert stored["time"] < datetime.now(UTC) - timedelta(seconds=1.4)


def test_two_reports_of_one_request_store_it_once(db: ViewDatabase) -> None:
    view = AIRequestsView(db, prices=BOOK)
    assert [view.record(request(1)), view.record(request(1))] == [True, False]
    done = view.record_many([request(1), request(2), request(2)])
    assert (done.stored, done.duplicates, done.failures) == (1, 2, {})


def test_one_bad_request_of_many_does_not_keep_the_others_out(db: ViewDatabase) -> None:
    bad = AIRequest(id="x" * 5000, time=NOW, model="m")
    done = AIRequestsView(db, prices=BOOK).record_many([request(1), bad, request(2)])
    assert (done.stored, list(done.failures)) == (2, [1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("latency_s", -1), ("latency_s", float("nan")), ("type", "chats"), ("status", "fine"), ("model", ""), ("time", 5),
     ("tokens", Tokens(-1)), ("tokens", Tokens(1.5)), ("nonsense", 1), ("latency_s", 1e305), ("provider", None),
     ("tenant", 42), ("user", 7), ("id", 5), ("finish_reasons", "stop"), ("metadata", None),
     ("time", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))))],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused(db: ViewDatabase, field: str, value: object) -> None:
    given: dict[str, Any] = {"model": "m", "time": NOW, field: value}
    tokens = given.pop("tokens", Tokens())
    with pytest.raises(InvalidInputError):
        record_ai_request(AIRequestsView(db), input_tokens=tokens.input, output_tokens=tokens.output, **given)


@pytest.mark.parametrize("latency_s", [float("nan"), 1e300, "1"])
def test_a_latency_that_is_none_is_refused_before_the_time_is_computed_from_it(
    db: ViewDatabase, latency_s: object
) -> None:
    with pytest.raises(InvalidInputError, match="latency_s"):
        record_ai_request(AIRequestsView(db), model="m", latency_s=latency_s)


def test_a_request_began_as_long_ago_as_it_took(db: ViewDatabase) -> None:
    record_ai_request(AIRequestsView(db, prices=BOOK), model="m", id="slow", latency_s=3600)
    [found] = AIRequestsView(db).find()
    assert timedelta(seconds=3600) <= datetime.now(UTC) - found["time"] < timedelta(seconds=3900)


def test_an_id_that_is_no_text_to_store_keeps_no_other_request_out_of_a_sample(db: ViewDatabase) -> None:
    bad = AIRequest(id="\ud800", time=NOW, model="m")
    done = AIRequestsView(db, prices=BOOK, sample_rate=0.999999999).record_many([request(1), bad, request(2)])
    assert (done.stored, list(done.failures)) == (2, [1])


SAID = {"messages": [{"role": "user", "content": "mail ada@example.com, key sk-abcdefghijklmnop1234"}], "password": "x"}


def test_content_is_stored_only_when_asked_for_and_redacted_first(db: ViewDatabase) -> None:
    AIRequestsView(db, prices=BOOK).record(request(1, input=SAID, output="fine"))
    AIRequestsView(db, prices=BOOK, content=True).record(request(2, input=SAID, output="Bearer abcdefghijkl"))
    first, second = AIRequestsView(db).find(sort="$id")
    assert "content" not in first
    assert second["content"] == {
        "input": {
            "messages": [{"role": "user", "content": "mail ***, key ***"}],
            "password": "***",
        },
        "output": "Bearer ***",
    }


@pytest.mark.parametrize("secret", ["sk-proj-abcdefghijkl0123", "AKIAABCDEFGHIJKLMNOP", "4111 1111 1111 1111",
                                    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "https://ada:hunter2@host/x",
                                    'api_key="hunter2"', "password: hunter2"])  # fmt: skip
def test_no_secret_reaches_the_log_of_the_database(db: ViewDatabase, secret: str) -> None:
    view = AIRequestsView(db, prices=BOOK, content=True)
    view.record(request(1, input=[secret], output={"a": secret}, metadata={"note": f"it is {secret}!"}))
    stored = repr(list(view.find())) + repr([change.document for change in view.requests.changes(follow=False)])
    assert secret not in stored
    assert "hunter2" not in stored


def test_what_cannot_be_redacted_is_not_stored(db: ViewDatabase) -> None:
    def broken(text: str) -> str:
        raise RuntimeError(text)

    view = AIRequestsView(db, prices=BOOK, content=True, redact=broken)
    assert view.record(request(1, input="secret"))
    [stored] = view.find()
    assert "content" not in stored
    assert view.content_dropped == 1


def test_a_sample_is_chosen_by_id_and_keeps_all_errors(db: ViewDatabase) -> None:
    requests = [request(number, status="error" if number % 10 == 0 else "ok") for number in range(1000)]
    views = [AIRequestsView(db, prices=BOOK, sample_rate=0.2, namespace=name) for name in ("one", "two")]
    done = [view.record_many(requests) for view in views]
    assert done[0] == done[1]
    assert 220 < done[0].stored < 340
    assert done[0].stored + done[0].sampled_out == 1000
    assert len(list(views[0].find(status="error"))) == 100
    assert [row["$id"][4:] for row in views[0].find(sort="$id")] == [
        row["$id"][4:] for row in views[1].find(sort="$id")
    ]


def test_statistics_costs_and_errors_of_some_time(db: ViewDatabase) -> None:
    view = AIRequestsView(db, prices=BOOK)
    view.record_many(
        [
            request(1, user="ada", latency_s=1.0),
            request(2, user="bob", latency_s=3.0, status="error", error="RateLimitError"),
            request(3, user="bob", cached=True),
            request(4, user="ada", model="unheard-of", status="error", error="RateLimitError"),
            request(5, user="eve", time=NOW - timedelta(days=2)),
        ]
    )
    usage = view.statistics(NOW.date())
    assert (usage.requests, usage.errors, usage.cached, usage.unpriced) == (4, 2, 1, 1)
    assert (usage.cost, usage.saved, usage.average_latency_s) == (Decimal("0.006"), Decimal("0.003"), 2.0)
    assert {who: one.cost for who, one in view.costs(by="user").items()} == {
        "ada": Decimal("0.003"),
        "bob": Decimal("0.003"),
        "eve": Decimal("0.003"),
    }
    [error] = view.errors(NOW.date())
    assert (error.error, error.count, error.share, error.models) == (
        "RateLimitError",
        2,
        0.5,
        {"m": 1, "unheard-of": 1},
    )
    assert view.statistics(user="bob").requests == 2
    with pytest.raises(InvalidInputError, match="by: expected one of"):
        view.costs(by="latency_s")


def test_retention_removes_old_days_and_nothing_from_the_usage(db: ViewDatabase) -> None:
    view = AIRequestsView(db, prices=BOOK, retention=timedelta(days=30))
    usage = create_ai_usage_view(db, granularity="month", prices=BOOK)
    usage.refresh()
    view.record_many([request(number, time=NOW - timedelta(days=number)) for number in range(50)])
    assert view.delete_expired(NOW) == 19
    assert [row["$id"] for row in view.find(limit=1, sort="time").items] == ["ai_requests/r30"]
    usage.refresh()
    before = usage.get_usage()
    assert sum(row.usage.requests for row in before) == 50
    usage.refresh(full=True)
    assert usage.get_usage() == before
    # Told again, an old one is stored for a while but not counted again.
    view.record(request(45, time=NOW - timedelta(days=45)))
    usage.refresh()
    assert usage.get_usage() == before
    assert view.delete_expired(NOW) == 1


def test_reads_keep_to_the_tenant(db: ViewDatabase) -> None:
    AIRequestsView(db, prices=BOOK).record_many([request(1, tenant="a"), request(2, tenant="b"), request(3)])
    mine = AIRequestsView(db, tenant="a")
    assert [row["tenant"] for row in mine.find()] == ["a"]
    assert [row["$id"] for row in AIRequestsView(db).find()] == ["ai_requests/r3"]
    for wanted in ("b", "*"):
        with pytest.raises(PermissionDeniedError, match="allow_cross_tenant"):
            mine.statistics(tenant=wanted)
    assert AIRequestsView(db, allow_cross_tenant=True).statistics().requests == 3


def test_nobody_is_called_like_all_tenants(db: ViewDatabase) -> None:
    AIRequestsView(db, prices=BOOK).record_many([request(1, tenant="a"), request(2, tenant="b")])
    for made in (AIRequestsView, create_ai_usage_view):
        with pytest.raises(InvalidInputError, match="all tenants"):
            made(db, tenant="*")
    with pytest.raises(InvalidInputError, match="all tenants"):
        request(3, tenant="*")


def test_an_observer_that_raises_changes_nothing(db: ViewDatabase) -> None:
    class Broken:
        def observe(self, request: AIRequest, cost: object) -> None:
            raise RuntimeError

    view = AIRequestsView(db, prices=BOOK, observers=[Broken()])
    assert view.record(request(1))
    assert view.observer_errors == 1


def test_a_forked_child_makes_ids_of_its_own_while_the_clock_is_set_back(db: ViewDatabase) -> None:
    view = AIRequestsView(db, prices=BOOK)
    record_ai_request(view, model="m")
    requests._ids._last += 3_600_000 << 80  # As if the last id was made in an hour from now.
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, requests._ids.next().encode())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() != requests._ids.next()
    requests._ids = UlidSource(SystemClock(), random.SystemRandom())
