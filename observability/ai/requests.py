"""Requests to models as documents of a namespace: recorded once each, looked at, and forgotten when they are old."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

import os
import random
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

import orjson

from parquedb.clock import SystemClock
from parquedb.errors import AlreadyExistsError, InvalidInputError, ParqueDBError
from parquedb.ids import UlidSource
from parquedb.observability.ai.periods import period_start, utc
from parquedb.observability.ai.prices import PriceBook
from parquedb.observability.ai.recorded import ErrorSummary, Observer, Recorded
from parquedb.observability.ai.redaction import Redact, redact_text, redacted
from parquedb.observability.ai.request import AIRequest, Cost, Tokens
from parquedb.observability.ai.tenants import TenantScope
from parquedb.observability.ai.usage import Usage
from parquedb.observability.logs import get_logger
from parquedb.observability.views.database import Collection, Database, Found, Row, delete_in_pages, each_page
from parquedb.observability.views.incremental import FLOOR_ID
from parquedb.steps import Steps, at_once, awaited

NAMESPACE: Final = "ai_requests"
CONTENT_BYTES_MAX: Final = 256 * 1024
"""Bytes of a request's content as JSON; longer content is left out and counted."""

_PAGE: Final = 1_000
_COLUMNS: Final = ("error", "app", "environment", "user", "type", "provider", "model", "tenant")
_USAGE_FIELDS: Final = (
    *("time", "status", "cached", "latency_s", "first_chunk_s", "cost", "saved", "price_version"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens"),
)

_logger = get_logger(__name__)
# Not from `random`, which a forked process or a seed would repeat.
_ids = UlidSource(SystemClock(), random.SystemRandom())


def _after_fork() -> None:
    # A source counts up within a millisecond, and while a clock that was set back is behind: copies of it would make
    # the same ids, and of two requests one would pass for a repeat.
    global _ids  # noqa: PLW0603 - the one of this process
    _ids = UlidSource(SystemClock(), random.SystemRandom())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


Moment = datetime | date | str
"""A time; naive ones and days are UTC."""


class RequestSteps:
    """The requests of a database, by steps that either client carries out; see `AIRequestsView`."""

    def __init__(
        self,
        db: Database,
        *,
        namespace: str = NAMESPACE,
        prices: PriceBook | None = None,
        content: bool = False,
        redact: Redact = redact_text,
        sample_rate: float = 1.0,
        retention: timedelta | None = None,
        tenant: str | None = None,
        allow_cross_tenant: bool = False,
        observers: Iterable[Observer] = (),
    ) -> None:
        """Use a namespace for requests; nothing is read or written by this.

        Args:
            db: A database of the client that the view is for.
            namespace: Of the requests.
            prices: What requests cost; those of the library by default.
            content: Whether to store what was said, redacted.
            redact: Masks what shall not be stored in a text; applies to content and metadata.
            sample_rate: Part of the requests to keep, 0 to 1, chosen by id; failed ones are always kept. Totals are
                those of what is kept.
            retention: How long `delete_expired` keeps requests; None for ever.
            tenant: Reads are of this tenant's requests.
            allow_cross_tenant: Whether reads may be of other tenants' as well.
            observers: Told of every request that is stored.

        Raises:
            InvalidInputError: an argument is out of range.
        """
        if not 0 <= sample_rate <= 1:
            raise InvalidInputError(f"sample_rate: expected 0 to 1, got {sample_rate!r}", field="sample_rate")
        if retention is not None and retention <= timedelta(0):
            raise InvalidInputError(f"retention: expected a positive time, got {retention!r}", field="retention")
        self.requests: Collection = db.collection(namespace)
        self.prices = PriceBook() if prices is None else prices
        self.scope = TenantScope(tenant, allow_cross_tenant)
        self.content_dropped = 0
        """Contents that were left out because they could not be redacted or were too large."""
        self.observer_errors = 0
        """Times an observer raised."""
        self._content = content
        self._redact = redact
        self._sample_rate = sample_rate
        self._retention = retention
        self._observers = tuple(observers)
        self._lock = threading.Lock()

    def _record(self, request: AIRequest) -> Steps[bool]:
        """Store a request; return whether it was kept and is new.

        Raises:
            ParqueDBError: it could not be stored.
        """
        if not self._kept(request):
            return False
        cost = self.prices.cost(request)
        try:
            yield partial(self.requests.create, self._document(request, cost))
        except AlreadyExistsError:
            return False
        self._tell(request, cost)
        return True

    def _record_many(self, requests: Sequence[AIRequest]) -> Steps[Recorded]:
        """Store many requests, each for itself."""
        kept = [
            (place, request, self.prices.cost(request)) for place, request in enumerate(requests) if self._kept(request)
        ]
        sampled_out = len(requests) - len(kept)
        if not kept:
            return Recorded(sampled_out=sampled_out)
        documents = [self._document(request, cost) for _, request, cost in kept]
        stored = duplicates = 0
        failures: dict[int, ParqueDBError] = {}
        answers = yield partial(self.requests.create_many, documents, ordered=False)
        for (place, request, cost), answer in zip(kept, answers, strict=True):
            if not isinstance(answer, ParqueDBError):
                stored += 1
                self._tell(request, cost)
            elif isinstance(answer, AlreadyExistsError):
                duplicates += 1
            else:
                failures[place] = answer
        return Recorded(stored, duplicates, sampled_out, failures)

    def find(
        self,
        from_: Moment | None = None,
        to: Moment | None = None,
        *,
        tenant: str | None = None,
        limit: int = 100,
        sort: Any = "-time",
        fields: Any = None,
        **equal: Any,
    ) -> Found:
        """Return a page of requests as documents, latest first; iterating it gives all.

        Args:
            from_: Earliest time (inclusive).
            to: Latest time (exclusive).
            tenant: Whose; see `TenantScope`.
            limit: Requests in a page.
            sort: As of `Collection.find`.
            fields: As of `Collection.find`.
            **equal: Fields and their values: `model="gpt-4o"`, `status="error"`, ...

        Raises:
            PermissionDeniedError: they are another tenant's.
        """
        return self.requests.find(self._condition(from_, to, tenant, equal), sort=sort, limit=limit, fields=fields)

    def _statistics(
        self, from_: Moment | None = None, to: Moment | None = None, *, tenant: str | None = None, **equal: Any
    ) -> Steps[Usage]:
        """Return what requests come to; arguments as of `find`. Reads each: for long times there is the usage view."""
        usage = Usage()

        def add(row: Row) -> None:
            usage.add_document(row, stored_cost(row) or Cost())

        yield from self._each(add, self._condition(from_, to, tenant, equal), _USAGE_FIELDS)
        return usage

    def _costs(
        self,
        from_: Moment | None = None,
        to: Moment | None = None,
        *,
        by: str = "model",
        tenant: str | None = None,
        **equal: Any,
    ) -> Steps[dict[str, Usage]]:
        """Return what requests come to by a column: `model`, `provider`, `user`, `app`, `tenant`, ...

        Raises:
            InvalidInputError: there is no such column.
        """
        if by not in _COLUMNS:
            expected = ", ".join(_COLUMNS)
            raise InvalidInputError(f"by: expected one of {expected}, got {by!r}", field="by")
        found: dict[str, Usage] = {}

        def add(row: Row) -> None:
            found.setdefault(row.get(by) or "", Usage()).add_document(row, stored_cost(row) or Cost())

        yield from self._each(add, self._condition(from_, to, tenant, equal), (*_USAGE_FIELDS, by))
        return dict(sorted(found.items(), key=lambda item: (-item[1].cost, item[0])))

    def _errors(
        self, from_: Moment | None = None, to: Moment | None = None, *, tenant: str | None = None, **equal: Any
    ) -> Steps[list[ErrorSummary]]:
        """Return the ways in which requests failed, the most frequent first; arguments as of `find`."""
        total = 0
        found: dict[str, dict[str, int]] = {}
        last: dict[str, datetime] = {}

        def add(row: Row) -> None:
            nonlocal total
            total += 1
            if row["status"] == "error":
                kind = row.get("error") or ""
                models = found.setdefault(kind, {})
                models[row["model"]] = models.get(row["model"], 0) + 1
                last[kind] = max(last.get(kind, row["time"]), row["time"])

        condition = self._condition(from_, to, tenant, equal)
        yield from self._each(add, condition, ("time", "status", "error", "model"))
        summaries = [
            ErrorSummary(kind, sum(models.values()), sum(models.values()) / total, models, last[kind])
            for kind, models in found.items()
        ]
        return sorted(summaries, key=lambda one: (-one.count, one.error))

    def _delete_expired(self, now: datetime | None = None) -> Steps[int]:
        """Remove requests of days that ended longer ago than the retention; return how many.

        What the usage views have counted stays counted.
        """
        if self._retention is None:
            return 0
        floor = period_start(utc(now or datetime.now(UTC), "now") - self._retention, "day")
        # The floor comes first: views shall know that what follows is no correction, even if this process dies here.
        yield partial(self.requests.update, FLOOR_ID, {"$max": {"floor": floor}}, upsert=True)
        return (yield from delete_in_pages(self.requests, {"time": {"$lt": floor}}))

    def _condition(
        self, from_: Moment | None, to: Moment | None, tenant: str | None, equal: Mapping[str, Any]
    ) -> dict[str, Any]:
        # The document of the floor has no time.
        time: dict[str, Any] = {"$gte": datetime.min.replace(tzinfo=UTC) if from_ is None else utc(from_, "from_")}
        if to is not None:
            time["$lt"] = utc(to, "to")
        return {"time": time, **self.scope.condition(tenant), **equal}

    def _each(self, use: Callable[[Row], None], condition: Mapping[str, Any], fields: Sequence[str]) -> Steps[int]:
        def use_all(rows: Sequence[Row]) -> None:
            for row in rows:
                use(row)

        return (yield from each_page(self.requests, use_all, condition, limit=_PAGE, fields=list(fields)))

    def _kept(self, request: AIRequest) -> bool:
        if self._sample_rate >= 1 or request.status == "error":
            return True
        # By id, so that two reports of one request agree.
        return zlib.crc32(request.id.encode(errors="surrogatepass")) < self._sample_rate * 2**32

    def _document(self, request: AIRequest, cost: Cost) -> Row:
        document = request.document(cost)
        if "metadata" in document:
            document["metadata"] = self._redacted(document["metadata"])
        if self._content and (request.input is not None or request.output is not None):
            document["content"] = self._redacted({"input": request.input, "output": request.output})
        return {name: value for name, value in document.items() if value is not None}

    def _redacted(self, content: Any) -> Any:
        """Return content that may be stored, or None: what could not be redacted is not stored at all."""
        try:
            clean = redacted(content, self._redact)
            if len(orjson.dumps(clean)) <= CONTENT_BYTES_MAX:
                return clean
        except Exception:  # noqa: BLE001 - of the caller's function and objects anything may come
            _logger.warning("the content of a request could not be redacted and is not stored")
        with self._lock:
            self.content_dropped += 1
        return None

    def _tell(self, request: AIRequest, cost: Cost) -> None:
        for observer in self._observers:
            try:
                observer.observe(request, cost)
            except Exception:  # noqa: BLE001 - whoever looks on must not undo what is stored
                with self._lock:
                    self.observer_errors += 1


class AIRequestsView(RequestSteps):
    """The requests of a database. Any number of processes may record into it."""

    record = at_once(RequestSteps._record)
    record_many = at_once(RequestSteps._record_many)
    statistics = at_once(RequestSteps._statistics)
    costs = at_once(RequestSteps._costs)
    errors = at_once(RequestSteps._errors)
    delete_expired = at_once(RequestSteps._delete_expired)


class AsyncAIRequestsView(RequestSteps):
    """The requests of a database of the asynchronous client: the methods of `AIRequestsView`, to be awaited.

    What `find` returns is awaited for a page, or gone through with `async for`.
    """

    record = awaited(RequestSteps._record)
    record_many = awaited(RequestSteps._record_many)
    statistics = awaited(RequestSteps._statistics)
    costs = awaited(RequestSteps._costs)
    errors = awaited(RequestSteps._errors)
    delete_expired = awaited(RequestSteps._delete_expired)


def stored_cost(document: Mapping[str, Any]) -> Cost | None:
    """Return the cost that was stored with a request; None where its price was not known."""
    version = document.get("price_version")
    return Cost(Decimal(document["cost"]), Decimal(document["saved"]), version) if version else None


def _record_ai_request(
    db: Database | RequestSteps,
    *,
    model: str,
    provider: str = "",
    id: str | None = None,  # noqa: A002 - the public name of the argument
    time: datetime | None = None,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_creation_tokens: int = 0,
    reasoning_tokens: int = 0,
    **facts: Any,
) -> Steps[str]:
    """Record one request into a database, or into a view with settings of its own; return its id.

    Args:
        db: Where to.
        model: That answered.
        provider: Whose model.
        id: Of the request: reporting one twice stores it once. A new one by default.
        time: When it began; by default as long ago as it took.
        input_tokens: See `Tokens`, also for the following ones.
        output_tokens: Tokens out.
        cache_read_tokens: Part of the input.
        cache_creation_tokens: Part of the input.
        reasoning_tokens: Part of the output.
        **facts: Other fields of `AIRequest`.

    Raises:
        InvalidInputError: a value is not of its kind.
        ParqueDBError: it could not be stored.
    """
    view = db if isinstance(db, RequestSteps) else RequestSteps(db)
    now = datetime.now(UTC)
    tokens = Tokens(input_tokens, output_tokens, cache_read_tokens, cache_creation_tokens, reasoning_tokens)
    try:
        request = AIRequest(
            id=id or _ids.next(), time=time or now, model=model, provider=provider, tokens=tokens, **facts
        )
    except TypeError as error:
        raise InvalidInputError(f"record_ai_request: {error}") from error
    if time is None and request.latency_s:
        # Once the latency is known to be one.
        request = replace(request, time=now - timedelta(seconds=request.latency_s))
    yield from view._record(request)
    return request.id


record_ai_request = at_once(_record_ai_request)
record_ai_request_async = awaited(_record_ai_request)
