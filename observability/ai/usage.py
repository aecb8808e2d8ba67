"""What requests come to: counts, tokens, latencies and money, which add up in any order to the same totals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from parquedb.observability.ai.periods import Granularity, period_name, period_start
from parquedb.observability.ai.request import MONEY, Cost, Tokens, tokens_of
from parquedb.observability.metrics.sketch import QuantileSketch
from parquedb.observability.views.groups import Key

_MICRO: Final = 1_000_000


@dataclass(slots=True)
class Usage:
    """What some requests come to. Sums are integers and Decimals, so that no order of adding can change them.

    Attributes:
        requests: How many.
        errors: Those that failed.
        cached: Those that a cache of the application answered.
        unpriced: Those of models whose price nobody knows; their cost is missing from `cost`.
        tokens: Of all.
        cost: US dollars to be paid.
        saved: US dollars that cached answers would have cost.
        price_versions: Requests by the prices they were computed with.
        latencies: Seconds of those whose latency is known.
        latency_us: Their sum, microseconds.
        first_chunks: Seconds to the first piece of streamed answers.
    """

    requests: int = 0
    errors: int = 0
    cached: int = 0
    unpriced: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)
    price_versions: dict[str, int] = field(default_factory=dict)
    latencies: QuantileSketch = field(default_factory=QuantileSketch)
    latency_us: int = 0
    first_chunks: QuantileSketch = field(default_factory=QuantileSketch)

    @property
    def error_rate(self) -> float:
        """Part of the requests that failed, 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def average_latency_s(self) -> float | None:
        """Mean latency in seconds; None where none is known."""
        count = self.latencies.count
        return self.latency_us / count / _MICRO if count else None

    def latency_s(self, fraction: float) -> float | None:
        """Return the latency (seconds) that `fraction` (0 to 1) of the requests do not exceed, right to 1.1 %."""
        return self.latencies.quantile(fraction)

    def add_document(self, document: Mapping[str, Any], cost: Cost) -> None:
        """Count a stored request that cost so much."""
        self.requests += 1
        self.errors += document.get("status") == "error"
        self.cached += bool(document.get("cached"))
        self.tokens += tokens_of(document)
        if cost.known:
            self.cost = MONEY.add(self.cost, cost.amount)
            self.saved = MONEY.add(self.saved, cost.saved)
            self.price_versions[cost.price_version] = self.price_versions.get(cost.price_version, 0) + 1
        else:
            self.unpriced += 1
        latency_s = document.get("latency_s")
        if latency_s is not None:
            self.latencies.add(latency_s)
            self.latency_us += round(latency_s * _MICRO)
        first_chunk_s = document.get("first_chunk_s")
        if first_chunk_s is not None:
            self.first_chunks.add(first_chunk_s)

    def add(self, other: "Usage") -> None:
        """Count the requests of another one too."""
        self.requests += other.requests
        self.errors += other.errors
        self.cached += other.cached
        self.unpriced += other.unpriced
        self.tokens += other.tokens
        self.cost = MONEY.add(self.cost, other.cost)
        self.saved = MONEY.add(self.saved, other.saved)
        for version, count in other.price_versions.items():
            self.price_versions[version] = self.price_versions.get(version, 0) + count
        self.latencies += other.latencies
        self.latency_us += other.latency_us
        self.first_chunks += other.first_chunks

    def document(self) -> dict[str, Any]:
        """Return it as it is stored; sketches as lists of bin, count, bin, count, ..."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "cached": self.cached,
            "unpriced": self.unpriced,
            "input_tokens": self.tokens.input,
            "output_tokens": self.tokens.output,
            "cache_read_tokens": self.tokens.cache_read,
            "cache_creation_tokens": self.tokens.cache_creation,
            "reasoning_tokens": self.tokens.reasoning,
            "cost": self.cost,
            "saved": self.saved,
            # A list: names of versions hold dots, which paths of fields must not.
            "price_versions": [[version, count] for version, count in sorted(self.price_versions.items())],
            "latencies": _flat(self.latencies),
            "latency_us": self.latency_us,
            "first_chunks": _flat(self.first_chunks),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Usage":
        """Read what `document` gave."""
        return cls(
            requests=document["requests"],
            errors=document["errors"],
            cached=document["cached"],
            unpriced=document["unpriced"],
            tokens=tokens_of(document),
            cost=Decimal(document["cost"]),
            saved=Decimal(document["saved"]),
            price_versions=dict(document["price_versions"]),
            latencies=_sketch(document["latencies"]),
            latency_us=document["latency_us"],
            first_chunks=_sketch(document["first_chunks"]),
        )


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """Which requests a group counts: those of one model, provider and tenant in one period."""

    period: datetime
    tenant: str | None
    provider: str
    model: str


class UsageAggregation:
    """Usage by period, tenant, provider and model, for an incremental view."""

    def __init__(self, granularity: Granularity, price: Callable[[Mapping[str, Any]], Cost]) -> None:
        """Count by a granularity.

        Args:
            granularity: Length of the periods.
            price: Says what a stored request cost.
        """
        self.definition = f"ai usage by {granularity}, 1"
        self._granularity = granularity
        self._price = price

    def time(self, row: dict[str, Any]) -> datetime | None:
        """Return when the request began; None for a document that is no request."""
        at = row.get("time")
        return at if isinstance(at, datetime) else None

    def key(self, row: dict[str, Any]) -> Key:
        """Return the group of a request."""
        start = period_start(row["time"], self._granularity)
        return start.isoformat(), row.get("tenant") or "", row.get("provider") or "", row.get("model") or ""

    def period(self, key: Key) -> datetime:
        """Return the start of a group's period."""
        return datetime.fromisoformat(key[0])

    def start(self) -> Usage:
        """Return the usage of no requests."""
        return Usage()

    def add(self, aggregate: Usage, row: dict[str, Any]) -> None:
        """Count a request."""
        aggregate.add_document(row, self._price(row))

    def merge(self, aggregate: Usage, other: Usage) -> None:
        """Count the requests of another group of the same key."""
        aggregate.add(other)

    def encode(self, key: Key, aggregate: Usage) -> dict[str, Any]:
        """Return the document of a group."""
        _, tenant, provider, model = key
        name = period_name(self.period(key), self._granularity)
        who = {"period_name": name, "tenant": tenant or None, "provider": provider, "model": model}
        return who | aggregate.document()

    def decode(self, document: dict[str, Any]) -> tuple[Key, Usage]:
        """Return the group of a document."""
        key = (document["period"].isoformat(), document["tenant"] or "", document["provider"], document["model"])
        return key, Usage.from_document(document)


def group_of(key: Key) -> UsageGroup:
    """Return what a key of `UsageAggregation` stands for."""
    start, tenant, provider, model = key
    return UsageGroup(datetime.fromisoformat(start), tenant or None, provider, model)


def _flat(sketch: QuantileSketch) -> list[int]:
    return [number for pair in sorted(sketch.bins.items()) for number in pair]


def _sketch(flat: list[int]) -> QuantileSketch:
    return QuantileSketch(dict(zip(flat[::2], flat[1::2], strict=True)))
