"""What requests cost: prices of one's own on top of those of a maintained library. Money is Decimal, in US dollars.

price book     own prices, most specific first: exact name, then dated name, then longest prefix (`gpt-4o*`)
  library      where no own price matches (`parquedb.observability.ai.library_prices`)
    unknown    else: the request has no cost, and is counted as such; it is never priced as another model
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from typing import Any, Final, Protocol

from parquedb.errors import InvalidInputError
from parquedb.observability.ai.request import MONEY, AIRequest, Cost, Tokens

_MILLION: Final = Decimal(1_000_000)
_NO_COST: Final = Cost()

# What may follow a model's name without making it another model: dates, `v1`, `v1:0`, `001`, `latest`. At most so many
# of them: some can be read as one part or as two, so without a bound a long name would be tried in 2 ** n ways.
_VERSION: Final = re.compile(r"([-@:_.](20\d\d-?\d\d-?\d\d|\d{4}|\d{3}|v\d+(:\d+)?|latest)){1,4}")


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per million tokens of each kind.

    Attributes:
        input: Of tokens in.
        output: Of tokens out.
        cache_read: Of those the provider had in its cache; as `input` when None.
        cache_creation: Of those it put there; as `input` when None.
        reasoning: Of those it thought; as `output` when None.
        request: Dollars per request.
        tiers: (tokens, rates) in ascending order: with more input tokens than that, these rates hold for all.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_creation: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal = Decimal(0)
    tiers: tuple[tuple[int, "Rates"], ...] = ()

    def amount(self, tokens: Tokens) -> Decimal:
        """Return what these tokens cost, each counted once."""
        rates = self
        for above, tier in self.tiers:
            if tokens.input > above:
                rates = tier
        total = rates.input * tokens.input + rates.output * tokens.output
        # A part has its own price instead of that of the whole, so the difference is what it adds.
        if tokens.cache_read and rates.cache_read is not None:
            total += (rates.cache_read - rates.input) * tokens.cache_read
        if tokens.cache_creation and rates.cache_creation is not None:
            total += (rates.cache_creation - rates.input) * tokens.cache_creation
        if tokens.reasoning and rates.reasoning is not None:
            total += (rates.reasoning - rates.output) * tokens.reasoning
        return total / _MILLION + self.request


@dataclass(frozen=True, slots=True)
class CustomPrice:
    """A price of one's own.

    Attributes:
        model: The model's name; with `*` at the end, all names that begin so.
        rates: See `Rates`.
        provider: Whose model; None for whoever offers it.
        since: First day (UTC) on which it holds; None for ever.
        aliases: Other names of the model, as `model`.
    """

    model: str
    rates: Rates
    provider: str | None = None
    since: date | None = None
    aliases: tuple[str, ...] = ()


class PriceSource(Protocol):
    """Knows rates of models."""

    version: str
    """Names the prices; changes with any of them."""

    def rates(self, provider: str, model: str, at: datetime) -> Rates | None:
        """Return the rates at a time (UTC); None for a model that it does not know."""


@dataclass(frozen=True, slots=True)
class NoPrices:
    """Knows no model."""

    version: str = "none"

    def rates(self, provider: str, model: str, at: datetime) -> Rates | None:  # noqa: ARG002 - as the protocol
        """Return None."""
        return None


@dataclass(slots=True)
class CustomPrices:
    """Prices of one's own, looked up by the closest name, then by the latest day."""

    prices: tuple[CustomPrice, ...]
    version: str = field(init=False)
    _names: dict[str, list[CustomPrice]] = field(init=False, repr=False)
    _prefixes: dict[str, list[CustomPrice]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._names, prefixes = {}, dict[str, list[CustomPrice]]()
        for price in self.prices:
            for name in (price.model.lower(), *map(str.lower, price.aliases)):
                if name.endswith("*"):
                    prefixes.setdefault(name[:-1], []).append(price)
                else:
                    self._names.setdefault(name, []).append(price)
        self._prefixes = dict(sorted(prefixes.items(), key=lambda item: -len(item[0])))
        text = "\n".join(sorted(map(repr, self.prices)))
        self.version = f"custom {hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def rates(self, provider: str, model: str, at: datetime) -> Rates | None:
        """Return the rates at a time; None for a model that has no price here."""
        if not self.prices:
            return None
        name = model.lower()
        candidates = [self._names.get(one, ()) for one in dict.fromkeys((name, without_version(name)))]
        candidates += [prices for prefix, prices in self._prefixes.items() if name.startswith(prefix)]
        return next((found for prices in candidates if (found := _current(prices, provider, at)) is not None), None)


class PriceBook:
    """Prices of one's own on top of others."""

    def __init__(self, custom: Iterable[CustomPrice] = (), source: PriceSource | None = None) -> None:
        """Put prices together.

        Args:
            custom: Prices of one's own; see `custom_prices` for a shorter notation.
            source: What holds where they say nothing; the maintained library by default.
        """
        self.custom = CustomPrices(tuple(custom))
        if source is None:
            # Imported here: it loads some megabytes of prices, which not every process needs.
            from parquedb.observability.ai.library_prices import LibraryPrices  # noqa: PLC0415

            source = LibraryPrices()
        self.source = source

    def cost(self, request: AIRequest) -> Cost:
        """Return what a request cost; an unknown one where nobody knows a price."""
        return self.price(request.provider, request.model, request.time, request.tokens, cached=request.cached)

    def price(self, provider: str, model: str, at: datetime, tokens: Tokens, *, cached: bool = False) -> Cost:
        """Return what tokens of a model cost at a time."""
        for source in (self.custom, self.source):
            with localcontext(MONEY):
                rates = source.rates(provider, model, at)
            if rates is not None:
                with localcontext(MONEY):
                    amount = rates.amount(tokens)
                return Cost(Decimal(0), amount, source.version) if cached else Cost(amount, Decimal(0), source.version)
        return _NO_COST


def custom_prices(table: Iterable[CustomPrice] | Mapping[str, Mapping[str, Any]]) -> tuple[CustomPrice, ...]:
    """Read prices of one's own: `{"my-model": {"input": "0.50", "output": "1.50", "since": "2026-01-01"}}`.

    Keys of a price: `input`, `output`, `cache_read`, `cache_creation`, `reasoning` (dollars per million tokens),
    `request` (dollars), `provider`, `since`, `aliases`. Amounts are texts, ints or Decimals; a float is refused.

    Raises:
        InvalidInputError: a key or an amount is not understood.
    """
    if not isinstance(table, Mapping):
        prices = tuple(table)
        strange = next((one for one in prices if not isinstance(one, CustomPrice)), None)
        if strange is not None:
            raise InvalidInputError(f"prices: expected an object of prices by model, got {strange!r}", field="prices")
        return prices
    return tuple(_custom_price(str(model), given) for model, given in table.items())


def load_custom_prices(text: str) -> tuple[CustomPrice, ...]:
    """Read the JSON of `custom_prices`; numbers with a fraction are exact here."""
    return custom_prices(json.loads(text, parse_float=Decimal))


def without_version(name: str) -> str:
    """Return a model's name without a date or version at its end: `gpt-4o-2024-08-06` is `gpt-4o`."""
    for start in range(1, len(name)):
        if name[start] in "-@:_." and _VERSION.fullmatch(name, start):
            return name[:start]
    return name


def is_version(text: str) -> bool:
    """Whether what follows a model's name leaves it the same model."""
    return not text or _VERSION.fullmatch(text) is not None


def _custom_price(model: str, given: Mapping[str, Any]) -> CustomPrice:
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"price of {model!r}: expected an object, got {given!r}", field=model)
    amounts = {"input", "output", "cache_read", "cache_creation", "reasoning", "request"}
    unknown = given.keys() - amounts - {"provider", "since", "aliases"}
    if unknown:
        expected = ", ".join([*sorted(amounts), "provider", "since", "aliases"])
        raise InvalidInputError(f"price of {model!r}: expected {expected}; got {sorted(unknown)[0]!r}", field=model)
    rates: dict[str, Any] = {name: _money(model, name, given[name]) for name in amounts & given.keys()}
    missing = {"input", "output"} - rates.keys()
    if missing:
        raise InvalidInputError(f"price of {model!r}: {sorted(missing)[0]!r} is missing", field=model)
    aliases = given.get("aliases", ())
    # A text is a sequence as well, of names of one letter.
    if not isinstance(aliases, list | tuple) or not all(isinstance(one, str) for one in aliases):
        raise InvalidInputError(f"price of {model!r}: aliases: expected a list of names, got {aliases!r}", field=model)
    return CustomPrice(model, Rates(**rates), given.get("provider"), _day(model, given.get("since")), tuple(aliases))


def _day(model: str, since: object) -> date | None:
    try:
        day = date.fromisoformat(since) if isinstance(since, str) else since
    except ValueError:
        day = since
    # A datetime is a date as well, and does not compare with one.
    if day is not None and (not isinstance(day, date) or isinstance(day, datetime)):
        raise InvalidInputError(f"price of {model!r}: since: expected a day, got {since!r}", field=model)
    return day


def _money(model: str, name: str, value: object) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    except ArithmeticError:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0:
        expected = "dollars as a text, an int or a Decimal, at least 0"
        raise InvalidInputError(f"price of {model!r}: {name}: expected {expected}; got {value!r}", field=model)
    return amount


def _current(prices: Iterable[CustomPrice], provider: str, at: datetime) -> Rates | None:
    """Return the rates that hold: those of this very provider first, then those since the latest day."""
    day = at.astimezone(UTC).date()
    holding = [
        price for price in prices if price.provider in {None, provider} and (price.since is None or price.since <= day)
    ]
    latest = max(holding, key=lambda price: (price.provider is not None, price.since or date.min), default=None)
    return None if latest is None else latest.rates
