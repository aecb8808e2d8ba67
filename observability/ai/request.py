"""One request to a model: what is known of it, in one shape whoever reports it, and as a document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Any, Final, Literal

from parquedb.errors import InvalidInputError
from parquedb.observability.ai.tenants import ALL_TENANTS

RequestType = Literal["chat", "completion", "embed", "generate", "stream"]
Status = Literal["ok", "error"]

REQUEST_TYPES: Final = ("chat", "completion", "embed", "generate", "stream")
STATUSES: Final = ("ok", "error")
TEXT_MAX: Final = 512
"""Characters of a name (a model, a user, ...); longer ones are cut."""
TOKENS_MAX: Final = 10**12
"""Tokens of one request; more is a mistake of whoever reports it."""
MONEY: Final = Context(prec=100, traps=[InvalidOperation, DivisionByZero, Overflow])
"""Reckons with US dollars: an application may have set the context of its own threads to six digits."""
SECONDS_MAX: Final = 10**10
"""Latency of one request, more than nanoseconds of 64 bits can tell; sums of it stay numbers."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one request, or of many.

    Attributes:
        input: All that went in, cache reads and creations included.
        output: All that came out, reasoning included.
        cache_read: Part of `input` that the provider had in its cache.
        cache_creation: Part of `input` that the provider put there.
        reasoning: Part of `output` that was thought, not said.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Tokens in and out; the parts are not counted again."""
        return self.input + self.output

    def whole(self) -> "Tokens":
        """Return the same counts with parts that are no larger than what they are parts of.

        Some providers report input without what the cache took: parts that exceed their whole can only mean that.
        """
        cached = self.cache_read + self.cache_creation
        return Tokens(
            self.input + cached if cached > self.input else self.input,
            self.output + self.reasoning if self.reasoning > self.output else self.output,
            self.cache_read,
            self.cache_creation,
            self.reasoning,
        )

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_creation + other.cache_creation,
            self.reasoning + other.reasoning,
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request cost, in US dollars.

    Attributes:
        amount: To be paid; zero for a request that a cache of the application answered.
        saved: What such a request would have cost.
        price_version: Names the prices it was computed with; empty where nobody knows a price.
        known: Whether there is a price; without one, amounts are zero and mean nothing.
    """

    amount: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)
    price_version: str = ""

    @property
    def known(self) -> bool:
        """Whether anybody knows a price."""
        return bool(self.price_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class AIRequest:
    """A request to a model that is over, well or badly.

    Attributes:
        id: Two reports with one id are one request.
        time: When it began, UTC.
        provider: As its own name says: `openai`, `anthropic`, `aws.bedrock`, ...
        model: That answered, or was asked for where no answer named one.
        request_model: That was asked for, where that is another name.
        type: `chat`, `completion`, `embed`, `generate` or `stream`.
        status: `ok` or `error`.
        latency_s: Seconds from the request to the end of the answer.
        first_chunk_s: Seconds to the first piece of a streamed answer.
        tokens: See `Tokens`.
        cached: Whether a cache of the application answered; then nothing is to be paid.
        error: Kind of error: `RateLimitError`, `429`, ...
        finish_reasons: Why the answer ended: `stop`, `length`, ...
        user, app, environment, tenant: On whose behalf.
        trace_id, span_id: Of the request's span, hexadecimal.
        input, output: What was said; stored only where the view is told to.
        metadata: Anything else.
    """

    id: str
    time: datetime
    model: str
    provider: str = ""
    request_model: str | None = None
    type: RequestType = "chat"
    status: Status = "ok"
    latency_s: float | None = None
    first_chunk_s: float | None = None
    tokens: Tokens = field(default_factory=Tokens)
    cached: bool = False
    error: str | None = None
    finish_reasons: tuple[str, ...] = ()
    user: str | None = None
    app: str | None = None
    environment: str | None = None
    tenant: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    input: Any = None
    output: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInputError: one is not of its kind or out of range.
        """
        _check(isinstance(self.id, str) and bool(self.id), "id", "a text", self.id)
        _check(isinstance(self.time, datetime), "time", "a datetime", self.time)
        _check(isinstance(self.model, str) and bool(self.model), "model", "a text", self.model)
        _check(self.type in REQUEST_TYPES, "type", f"one of {', '.join(REQUEST_TYPES)}", self.type)
        _check(self.status in STATUSES, "status", f"one of {', '.join(STATUSES)}", self.status)
        for name in ("latency_s", "first_chunk_s"):
            value = getattr(self, name)
            # `0 <= x <= most` is false for NaN as well.
            fine = value is None or (type(value) in {int, float} and 0 <= value <= SECONDS_MAX)
            _check(fine, name, f"seconds from 0 to {SECONDS_MAX:,}", value)
        for name in ("input", "output", "cache_read", "cache_creation", "reasoning"):
            count = getattr(self.tokens, name)
            _check(type(count) is int and 0 <= count <= TOKENS_MAX, f"tokens.{name}", "a count of tokens", count)
        object.__setattr__(self, "tokens", self.tokens.whole())
        object.__setattr__(self, "time", _utc(self.time))
        _check(isinstance(self.provider, str), "provider", "a text", self.provider)
        for name in ("provider", "model", "request_model", "error", "user", "app", "environment", "tenant"):
            text = getattr(self, name)
            # A number here would be recorded, and then no view could be sorted or grouped by it.
            _check(text is None or isinstance(text, str), name, "a text", text)
            if text is not None and len(text) > TEXT_MAX:
                object.__setattr__(self, name, text[:TEXT_MAX])
        _check(self.tenant != ALL_TENANTS, "tenant", "a name, not that for all tenants", self.tenant)
        reasons = self.finish_reasons
        fine = isinstance(reasons, list | tuple) and all(isinstance(one, str) for one in reasons)
        _check(fine, "finish_reasons", "texts", reasons)
        _check(isinstance(self.metadata, Mapping), "metadata", "a mapping", self.metadata)

    def document(self, cost: Cost) -> dict[str, Any]:
        """Return it as it is stored: without content, and without what is not known."""
        tokens = self.tokens
        known: dict[str, Any] = {
            "time": self.time,
            "provider": self.provider,
            "model": self.model,
            "request_model": self.request_model if self.request_model != self.model else None,
            "type": self.type,
            "status": self.status,
            "latency_s": None if self.latency_s is None else float(self.latency_s),
            "first_chunk_s": None if self.first_chunk_s is None else float(self.first_chunk_s),
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "cache_read_tokens": tokens.cache_read,
            "cache_creation_tokens": tokens.cache_creation,
            "reasoning_tokens": tokens.reasoning,
            "cached": self.cached,
            "cost": cost.amount if cost.known else None,
            "saved": cost.saved if cost.known else None,
            "price_version": cost.price_version or None,
            "error": self.error,
            "finish_reasons": list(self.finish_reasons) or None,
            "user": self.user,
            "app": self.app,
            "environment": self.environment,
            "tenant": self.tenant,
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "metadata": dict(self.metadata) or None,
        }
        return {"$id": self.id} | {name: value for name, value in known.items() if value is not None}


def tokens_of(document: Mapping[str, Any]) -> Tokens:
    """Return the tokens of a stored request."""
    return Tokens(
        document.get("input_tokens") or 0,
        document.get("output_tokens") or 0,
        document.get("cache_read_tokens") or 0,
        document.get("cache_creation_tokens") or 0,
        document.get("reasoning_tokens") or 0,
    )


def _utc(time: datetime) -> datetime:
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInputError(f"time: {time.isoformat()} is out of range in UTC", field="time") from error


def _check(fine: bool, name: str, expected: str, actual: object) -> None:
    if not fine:
        raise InvalidInputError(
            f"{name}: expected {expected}, got {actual!r}", field=name, expected=expected, actual=actual
        )
