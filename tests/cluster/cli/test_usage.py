"""`parquedb usage`: what it prints, and how it is asked."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from parquedb.cluster.cli.usage import UsageCommand
from parquedb.errors import ConfigurationError
from parquedb.observability.ai import AIRequest, AIRequestsView, AIUsageView, PriceBook, Tokens, create_ai_usage_view
from parquedb.observability.ai.prices import NoPrices, custom_prices
from tests.support.view_database import ViewDatabase

BOOK = PriceBook(custom_prices({"large": {"input": "10", "output": "40"}}), NoPrices())


@pytest.fixture
def view() -> Iterator[AIUsageView]:
    db = ViewDatabase()
    facts = [("large", 1, "a"), ("large", 2, None), ("[odd] model", 2, "a")]
    requests = [
        AIRequest(
            id=f"r{number}",
            time=datetime(2026, 3, day, tzinfo=UTC),
            model=model,
            provider="p",
            tenant=tenant,
            tokens=Tokens(100_000, 10_000),
            latency_s=0.5,
        )
        for number, (model, day, tenant) in enumerate(facts)
    ]
    AIRequestsView(db, prices=BOOK).record_many(requests)
    made = create_ai_usage_view(db, prices=BOOK, allow_cross_tenant=True)
    made.refresh()
    yield made
    db.close()


def shown(view: AIUsageView, *, width: int = 120, **options: Any) -> str:
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    UsageCommand("./data", screen=screen, **options).show(view)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_it_prints_totals_periods_with_bars_and_models(view: AIUsageView) -> None:
    text = shown(view)
    assert "$2.80, 3 requests" in text
    assert "no price is known for [odd] model: 1 request is not in the cost" in text
    assert "2026-03-01" in text
    assert "█" in text
    assert "unknown" in text


def test_it_keeps_to_a_tenant_and_to_some_time(view: AIUsageView) -> None:
    assert "2 requests" in shown(view, tenant="a")
    assert "2 requests" in shown(view, from_="2026-03-02")
    assert "$1.40, 1 request, 0 errors" in shown(view, to="2026-03-02")


def test_where_there_is_nothing_it_says_what_to_do(view: AIUsageView) -> None:
    assert "no requests in this time: ask for a longer time (--from, --to)" in shown(view, to="2020-01-01")


def test_of_many_periods_the_latest_are_printed_and_the_others_summed_up(view: AIUsageView) -> None:
    days = [datetime(2026, 4, 1, tzinfo=UTC) + timedelta(days=day) for day in range(70)]
    many = [AIRequest(id=f"m{at}", time=at, model="large", tokens=Tokens(100_000, 10_000)) for at in days]
    db = ViewDatabase()
    AIRequestsView(db, prices=BOOK).record_many(many)
    made = create_ai_usage_view(db, prices=BOOK, allow_cross_tenant=True)
    made.refresh()
    text = shown(made)
    assert "10 earlier days: 10 requests, $14.00" in text
    assert "2026-04-10" not in text
    assert "2026-04-11" in text
    db.close()


def test_on_a_narrow_screen_names_fold_and_no_number_is_cut() -> None:
    name = "us.anthropic.a-model-with-a-long-name-" * 3
    db = ViewDatabase()
    book = PriceBook(custom_prices({name: {"input": "10000", "output": "40"}}), NoPrices())
    request = AIRequest(
        id="r", time=datetime(2026, 3, 1, tzinfo=UTC), model=name, latency_s=12.25, tokens=Tokens(123_456_789, 987_654)
    )
    AIRequestsView(db, prices=book).record(request)
    made = create_ai_usage_view(db, prices=book, allow_cross_tenant=True)
    made.refresh()
    text = shown(made, width=70)
    assert "…" not in text
    assert all(cell in text for cell in ("123M", "988k", "$1,234,607.40"))
    assert max(map(len, text.splitlines()[1:])) <= 70
    db.close()


def test_its_json_holds_exact_money(view: AIUsageView) -> None:
    plain = json.loads(shown(view, as_json=True))
    assert plain["total"]["cost"] == "2.8"
    assert plain["by_period"]["2026-03-02"]["requests"] == 2
    assert plain["unpriced_models"] == {"[odd] model": 1}


def test_it_writes_a_page(view: AIUsageView, tmp_path: Path) -> None:
    assert "written" in shown(view, html=tmp_path / "usage.html")
    assert "<svg" in (tmp_path / "usage.html").read_text()


def test_prices_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text("{")
    with pytest.raises(ConfigurationError, match="--prices"):
        UsageCommand(str(tmp_path / "db"), prices=tmp_path / "prices.json")._own_prices()
