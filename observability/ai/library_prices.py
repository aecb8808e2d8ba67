"""Prices from the `genai-prices` package: its data comes with the package, and nothing is fetched at run time.

The library answers with the first of its models whose rule matches a name. Here the model whose rule names the longest
part of the name wins, and what is left of the name may only be a version: `gpt-4o-mini-2024-07-18` is `gpt-4o-mini`,
but `claude-sonnet-4-5-thinker` is nobody we know.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, Final

import genai_prices
from genai_prices import data_snapshot, types

from parquedb.observability.ai.prices import Rates, is_version, without_version

_PROVIDERS: Final = {"x_ai": "x-ai", "xai": "x-ai", "azure.ai.inference": "azure", "az.ai.inference": "azure"}
"""Names of OpenTelemetry's conventions that the library does not know by itself."""

_KNOWN_MAX: Final = 4_096


class LibraryPrices:
    """Rates of some thousand models of some fifty providers."""

    version: str = f"genai-prices {genai_prices.__version__}"

    def rates(self, provider: str, model: str, at: datetime) -> Rates | None:
        """Return the rates at a time; None for a model that the library does not know for sure."""
        found = _model(provider.lower(), model.lower())
        return None if found is None else found.at(at)


class _Priced:
    """A model of the library and its rates."""

    def __init__(self, info: types.ModelInfo) -> None:
        self._info = info

    def at(self, time: datetime) -> Rates | None:
        if isinstance(self._info.prices, types.ModelPrice):
            return self._standing
        # Of a few prices, each made into rates once.
        price = self._info.get_prices(time)
        rates = self._dated.get(id(price))
        if rates is None:
            rates = self._dated[id(price)] = _rates(price)
        return rates

    @cached_property
    def _standing(self) -> Rates:
        return _rates(self._info.get_prices(datetime.min))  # noqa: DTZ901 - holds at any time

    @cached_property
    def _dated(self) -> dict[int, Rates]:
        return {}


@lru_cache(_KNOWN_MAX)
def _model(provider: str, model: str) -> _Priced | None:
    providers = data_snapshot.get_snapshot().providers
    if provider:
        owner = data_snapshot.find_provider_by_id(providers, _PROVIDERS.get(provider, provider))
    else:
        owner = next((one for one in providers if one.model_match and one.model_match.is_match(model)), None)
    if owner is None:
        return None
    # A provider may offer models of others.
    for id_ in (owner.id, *(owner.fallback_model_providers or ())):
        offered = next((one.models for one in providers if one.id == id_), [])
        for name in dict.fromkeys((model, without_version(model))):
            ranked = [(length, info) for info in offered if (length := _matched(info, name)) is not None]
            if ranked:
                return _Priced(max(ranked, key=lambda pair: pair[0])[1])
    return None


def _matched(info: types.ModelInfo, name: str) -> int | None:
    """Return how many characters of a name a model accounts for; None where the name is of another one."""
    # An exact name beats any rule.
    lengths = [2 * len(name)] if name == info.id.lower() else list(_lengths(info.match, name))
    return max((length for length in lengths if length is not None), default=None)


def _lengths(clause: Any, name: str) -> Iterator[int | None]:
    if not clause.is_match(name):
        return
    if isinstance(clause, types.ClauseOr):
        for one in clause.or_:
            yield from _lengths(one, name)
    elif isinstance(clause, types.ClauseEquals):
        yield 2 * len(name)
    elif isinstance(clause, types.ClauseStartsWith):
        yield _if_version(name, len(clause.starts_with))
    elif isinstance(clause, types.ClauseContains):
        end = name.index(clause.contains.lower()) + len(clause.contains)
        yield _if_version(name, end, len(clause.contains))
    else:
        # Rules of several conditions and regular expressions say themselves how a name goes on.
        yield 0


def _if_version(name: str, end: int, length: int | None = None) -> int | None:
    # A rule may itself end within a version: `claude-sonnet-4-2025`.
    start = name.rfind("-", 0, end) if name[end - 1 : end].isdigit() else end
    rest = any(is_version(name[place:]) for place in {end, start} if place > 0)
    return (length or end) if rest else None


def _rates(price: types.ModelPrice) -> Rates:
    names = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok")
    given = [getattr(price, name) for name in names]
    starts = sorted({tier.start for one in given if isinstance(one, types.TieredPrices) for tier in one.tiers})
    requests = price.requests_kcount
    per_request = requests / 1000 if isinstance(requests, Decimal) else Decimal(0)

    def at(tokens: int) -> Rates:
        entering, leaving, *parts = (_tier(one, tokens) for one in given)
        return Rates(entering or Decimal(0), leaving or Decimal(0), parts[0], parts[1], parts[2], per_request)

    base = at(0)
    return Rates(
        base.input,
        base.output,
        base.cache_read,
        base.cache_creation,
        base.reasoning,
        per_request,
        tuple((start, at(start + 1)) for start in starts),
    )


def _tier(price: Decimal | types.TieredPrices | None, tokens: int) -> Decimal | None:
    if not isinstance(price, types.TieredPrices):
        return price
    return next((tier.price for tier in reversed(price.tiers) if tokens > tier.start), price.base)
