"""What a query does with a snapshot: find, find_one, count, distinct, aggregate.

`prepare` reads the arguments and refuses what it does not understand before anything is looked at. What it returns
answers over any snapshot, holding at most so many bytes, with all CPU work off the event loop in small steps.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from parquedb.actors.requests.cursors import fingerprint, make_cursor, read_cursor
from parquedb.actors.requests.read_arguments import LIMIT_DEFAULT, LIMIT_MAX, SKIP_MAX
from parquedb.documents.aggregation import Pipeline, parse_pipeline
from parquedb.documents.budget import Budget
from parquedb.documents.distinct import Distinct
from parquedb.documents.filters import Predicate, compile_filter
from parquedb.documents.projection import Projection, parse_projection
from parquedb.documents.sorting import ID, Sort, parse_sort
from parquedb.errors import InternalError, ValidationError
from parquedb.storage.query import scan
from parquedb.storage.query.scan_plan import ScanSnapshot
from parquedb.storage.query.scan_rows import steps, stream
from parquedb.storage.query.top import find_sorted

_DONE: Final = object()

Ask = Callable[[ScanSnapshot], Awaitable[Any]]
Document = dict[str, Any]
Options = Mapping[str, Any]


def prepare(kind: str, options: Options, *, namespace: str, memory_max: int) -> Ask:
    """Return what answers a query.

    Args:
        kind: `find find_one count distinct aggregate`.
        options: Those of the operation.
        namespace: Whose documents these are.
        memory_max: Bytes that the query may hold, estimated.

    Raises:
        QueryError: a filter, sort, projection or pipeline is not understood.
        ValidationError: another argument is of the wrong kind.
    """
    if kind == "find":
        return _find(options, namespace, memory_max)
    if kind == "find_one":
        return _find_one(options, namespace, memory_max)
    if kind == "count":
        return partial(scan.count, predicate=compile_filter(filter_of(options)))
    if kind == "distinct":
        return _distinct(options, memory_max)
    if kind == "aggregate":
        return _aggregate(options, memory_max)
    raise InternalError(f"{kind!r} is no query")


def filter_of(options: Options) -> Mapping[str, Any] | None:
    """Return the filter of a query; unless asked otherwise it hides soft-deleted documents."""
    given: Mapping[str, Any] | None = options.get("filter")
    if options.get("include_deleted"):
        return given
    hidden = {"deletedAt": {"$exists": False}}
    return {"$and": [given, hidden]} if given else hidden


def _find(options: Options, namespace: str, memory_max: int) -> Ask:
    limit = _whole("limit", options.get("limit", LIMIT_DEFAULT), 1, LIMIT_MAX)
    skip = _whole("skip", options.get("skip", 0), 0, SKIP_MAX)
    sort = parse_sort(options.get("sort"))
    projection = parse_projection(options.get("fields"))
    predicate = compile_filter(filter_of(options))
    query = fingerprint(sort, options.get("filter"), include_deleted=bool(options.get("include_deleted")))
    after = None
    if options.get("cursor") is not None:
        if skip:
            raise ValidationError(
                "skip: expected 0 beside a cursor, which already says where to begin",
                field="skip",
                expected="0 beside a cursor",
                actual=skip,
            )
        values, id_ = read_cursor(options["cursor"], query, sort)
        after = sort.key_of(values, f"{namespace}/{id_}")

    async def ask(snapshot: ScanSnapshot) -> Document:
        budget = Budget(memory_max)
        source = _Source(snapshot, predicate, sort, _columns(projection), budget)
        found = await source.first(limit + 1, skip, after)
        page = found[:limit]
        cursor = None
        if len(found) > limit:
            cursor = make_cursor(query, sort.values(page[-1]), page[-1][ID].partition("/")[2])
        answer: Document = {"items": await _projected(snapshot, page, projection), "next_cursor": cursor}
        if options.get("total"):
            answer["total"] = await scan.count(snapshot, predicate)
        return answer

    return ask


def _find_one(options: Options, namespace: str, memory_max: int) -> Ask:
    find = _find({**options, "limit": 1}, namespace, memory_max)

    async def ask(snapshot: ScanSnapshot) -> Document | None:
        items = (await find(snapshot))["items"]
        return items[0] if items else None

    return ask


def _distinct(options: Options, memory_max: int) -> Ask:
    Distinct(options.get("field"), Budget(memory_max))
    predicate = compile_filter(filter_of(options))

    async def ask(snapshot: ScanSnapshot) -> list[Any]:
        distinct = Distinct(options.get("field"), Budget(memory_max))
        async for documents in stream(snapshot, predicate, (distinct.column,)):
            await snapshot.source.run(partial(distinct.feed, documents))
        values: list[Any] = await snapshot.source.run(distinct.values)
        return values

    return ask


def _aggregate(options: Options, memory_max: int) -> Ask:
    pipeline = parse_pipeline(options.get("pipeline"))
    hidden = filter_of({"include_deleted": options.get("include_deleted")})
    predicate = compile_filter({"$and": [*filter(None, (*pipeline.filters, hidden)), {}]})

    async def ask(snapshot: ScanSnapshot) -> list[Document]:
        budget = Budget(memory_max)
        aggregation = pipeline.start(budget)
        run = snapshot.source.run
        try:
            async for documents in _input(snapshot, predicate, pipeline, budget):
                if not await run(partial(aggregation.feed, documents)):
                    break
            rest = aggregation.finish()
            while await run(partial(next, rest, _DONE)) is not _DONE:
                pass  # Each turn is a step off the event loop.
        finally:
            aggregation.stopped = True  # A step may still be under way in its thread.
        return aggregation.results

    return ask


async def _input(
    snapshot: ScanSnapshot, predicate: Predicate, pipeline: Pipeline, budget: Budget
) -> AsyncIterator[Sequence[Document]]:
    """Yield what the scan leaves to the stages of a pipeline."""
    fields = None if pipeline.fields is None else tuple(pipeline.fields)
    if pipeline.limit is None or pipeline.sort is None:
        async for documents in stream(snapshot, predicate, fields):
            yield documents
        return
    source = _Source(snapshot, predicate, pipeline.sort, fields, budget)
    for step in steps(await source.first(pipeline.limit, pipeline.skip)):
        yield step


class _Source:
    """The passing documents of a snapshot in an order, the first of them."""

    __slots__ = ("_budget", "_fields", "_predicate", "_snapshot", "_sort")

    def __init__(
        self,
        snapshot: ScanSnapshot,
        predicate: Predicate,
        sort: Sort,
        fields: Sequence[str] | None,
        budget: Budget,
    ) -> None:
        self._snapshot = snapshot
        self._predicate = predicate
        self._sort = sort
        self._fields = fields
        self._budget = budget

    async def first(self, limit: int, skip: int = 0, after: tuple[Any, ...] | None = None) -> list[Document]:
        """Return `limit` documents behind the first `skip`, all of them behind the key `after`."""
        if not self._sort.fields and not skip:
            return await scan.find(
                self._snapshot,
                self._predicate,
                limit=limit,
                after_id=None if after is None else after[-1],
                fields=self._fields,
                budget=self._budget,
            )
        return await find_sorted(
            self._snapshot,
            self._predicate,
            self._sort,
            limit=limit,
            skip=skip,
            after=after,
            fields=self._fields,
            budget=self._budget,
        )


async def _projected(
    snapshot: ScanSnapshot, documents: Sequence[Document], projection: Projection | None
) -> list[Document]:
    if projection is None:
        return list(documents)
    found: list[Document] = []
    for step in steps(documents):
        found += await snapshot.source.run(partial(_mapped, projection, step))
    return found


def _mapped(projection: Projection, documents: Iterable[Document]) -> list[Document]:
    return list(map(projection, documents))


def _columns(projection: Projection | None) -> Sequence[str] | None:
    return None if projection is None else projection.columns


def _whole(field: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValidationError(field=field, expected=f"an int from {low} to {high}", actual=repr(value)[:80])
    return value
