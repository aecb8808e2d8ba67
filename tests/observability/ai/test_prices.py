"""Prices: exact in Decimal, by the closest name, at the day of the request; and never those of another model."""

import random
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices import data_snapshot

from parquedb.errors import InvalidInputError
from parquedb.observability.ai.library_prices import LibraryPrices
from parquedb.observability.ai.prices import NoPrices, PriceBook, custom_prices, load_custom_prices, without_version
from parquedb.observability.ai.request import AIRequest, Cost, Tokens

NOW = datetime(2026, 11, 26, tzinfo=UTC)
TOKENS = Tokens(input=1_000_000, output=0)


def book(table: dict) -> PriceBook:
    return PriceBook(custom_prices(table), NoPrices())


def flat(amount: str, **more: object) -> dict:
    return {"input": amount, "output": "0", **more}


def priced(prices: PriceBook, model: str, at: datetime = NOW, provider: str = "p") -> Decimal | None:
    cost = prices.price(provider, model, at, TOKENS)
    return cost.amount if cost.known else None


def test_every_model_of_the_library_costs_what_the_library_says() -> None:
    rng, prices, compared = random.Random(1), LibraryPrices(), 0
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models:
            tokens = Tokens(rng.choice([1_000, 150_000, 300_000]), 500, cache_read=20, cache_creation=10, reasoning=100)
            usage = genai_prices.Usage(
                input_tokens=tokens.input,
                output_tokens=tokens.output,
                cache_read_tokens=tokens.cache_read,
                cache_write_tokens=tokens.cache_creation,
                output_reasoning_tokens=tokens.reasoning,
            )
            try:
                theirs = genai_prices.calc_price(usage, model.id, provider_id=provider.id, genai_request_timestamp=NOW)
            except (LookupError, ValueError):
                continue  # Prices of sounds or pictures need counts of these.
            rates = prices.rates(provider.id, model.id, NOW)
            assert rates is not None, (provider.id, model.id)
            if theirs.model.id == model.id:
                assert rates.amount(tokens) == theirs.total_price, (provider.id, model.id)
                compared += 1
    assert compared > 500


@pytest.mark.parametrize(
    ("provider", "dated", "plain"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai", "gpt-5.2-20251211", "gpt-5.2"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("azure.ai.openai", "gpt-4o", "gpt-4o"),
        ("gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash"),
        ("x_ai", "grok-4", "grok-4"),
    ],
)
def test_a_dated_name_and_a_conventional_provider_are_understood(provider: str, dated: str, plain: str) -> None:
    prices = LibraryPrices()
    assert prices.rates(provider, dated, NOW) == prices.rates(provider, plain, NOW) is not None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5-thinker"),
        ("openai", "gpt-4o-mini-frobnicate"),
        ("openai", "gpt-9"),
        ("nobody", "gpt-4o"),
        ("", "my-own-model"),
    ],
)
def test_an_unknown_model_is_never_priced_as_another(provider: str, model: str) -> None:
    assert PriceBook().price(provider, model, NOW, TOKENS) == Cost()


def test_parts_of_the_tokens_are_counted_once() -> None:
    prices = book({"m": {"input": "1", "output": "10", "cache_read": "0.1", "cache_creation": "2", "reasoning": "20"}})
    tokens = Tokens(input=1_000_000, output=100_000, cache_read=500_000, cache_creation=100_000, reasoning=10_000)
    # 0.4 fresh, 0.05 read, 0.2 created, 0.9 said, 0.2 thought.
    assert prices.price("p", "m", NOW, tokens).amount == Decimal("1.75")
    assert tokens.total == 1_100_000


def test_input_told_without_what_the_cache_took_is_made_whole() -> None:
    request = AIRequest(id="a", time=NOW, model="m", tokens=Tokens(input=10, output=5, cache_read=100, reasoning=7))
    assert request.tokens == Tokens(input=110, output=12, cache_read=100, reasoning=7)


def test_own_prices_win_over_the_library_and_the_closest_name_wins_among_them() -> None:
    table = {"gpt-4*": flat("1"), "gpt-4o*": flat("2"), "gpt-4o": flat("3"), "*": flat("9")}
    prices = PriceBook(custom_prices(table))
    names = ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-mini", "gpt-4.1", "other"]
    assert [priced(prices, name) for name in names] == [3, 3, 2, 1, 9]


def test_a_price_holds_from_its_day_on_and_for_its_provider() -> None:
    prices = PriceBook(
        (
            *custom_prices({"m": flat("1")}),
            *custom_prices({"m": flat("2", since="2026-06-01")}),
            *custom_prices({"m": flat("5", provider="q", aliases=["n"])}),
        ),
        NoPrices(),
    )
    last_moment, first_moment = datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    assert [priced(prices, "m", at) for at in (last_moment, first_moment)] == [1, 2]
    assert priced(prices, "m", provider="q") == priced(prices, "N", provider="q") == 5
    assert priced(prices, "n") is None


def test_more_input_than_a_tier_begins_with_is_charged_at_the_tiers_rates() -> None:
    rates = LibraryPrices().rates("anthropic", "claude-sonnet-4-5", NOW)
    assert rates is not None
    below, above = (rates.amount(Tokens(input=tokens)) for tokens in (200_000, 200_001))
    assert (below, above) == (Decimal("0.6"), Decimal("1.200006"))


def test_an_answer_from_a_cache_costs_nothing_and_tells_what_it_saved() -> None:
    cost = book({"m": flat("3")}).price("p", "m", NOW, TOKENS, cached=True)
    assert (cost.amount, cost.saved) == (0, 3)


def test_the_version_changes_with_any_price() -> None:
    versions = {book(table).custom.version for table in ({"m": flat("1")}, {"m": flat("1.0001")}, {"n": flat("1")})}
    assert len(versions) == 3
    assert LibraryPrices.version == f"genai-prices {genai_prices.__version__}"


@pytest.mark.parametrize(
    "given", [{"input": 0.1, "output": 0}, {"input": "x", "output": 0}, {"input": 1}, {"input": -1, "output": 0},
              {"input": 1, "output": 1, "outptu": 1}, {"input": 1, "output": 1, "since": "soon"},
              {"input": "NaN", "output": 1}, {"input": True, "output": 1}, 5,
              {"input": 1, "output": 1, "aliases": "m-latest"}, {"input": 1, "output": 1, "aliases": [1]},
              {"input": 1, "output": 1, "since": NOW}, {"input": 1, "output": 1, "since": 2026}],
)  # fmt: skip
def test_a_price_that_is_not_exact_or_not_understood_is_refused(given: dict) -> None:
    with pytest.raises(InvalidInputError, match="price of 'm'"):
        custom_prices({"m": given})


def test_a_file_that_holds_no_table_of_prices_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="by model"):
        load_custom_prices('[{"model": "m", "input": 1, "output": 1}]')


def test_prices_read_from_json_are_exact() -> None:
    [price] = load_custom_prices('{"m": {"input": 0.1, "output": 1, "since": "2026-01-01"}}')
    assert (price.rates.input, price.since) == (Decimal("0.1"), date(2026, 1, 1))


@pytest.mark.parametrize(
    ("name", "plain"),
    [("a-2024-08-06", "a"), ("a-20240806", "a"), ("a-0613", "a"), ("a-v1:0", "a"), ("a-latest", "a"), ("a@001", "a"),
     ("a-4-5", "a-4-5"), ("a-mini", "a-mini"), ("a-2024-08-06-mini", "a-2024-08-06-mini")],
)  # fmt: skip
def test_only_versions_at_the_end_are_taken_off_a_name(name: str, plain: str) -> None:
    assert without_version(name) == plain


@pytest.mark.parametrize("part", ["-v1:1234", "-2024-0101"])
def test_a_name_whose_end_can_be_read_in_many_ways_is_read_at_once(part: str) -> None:
    name = "a" + part * 40 + "-mini"
    started = time.thread_time()
    assert without_version(name) == name
    assert time.thread_time() - started < 1
