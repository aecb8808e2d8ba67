"""Read a pipeline, take off what the storage can do, and run the rest over steps of documents.

    parse_pipeline([{"$match": ...}, {"$sort": ...}, {"$limit": 5}, {"$group": ...}])
        filters, sort, skip, limit    what begins the pipeline: for the scan
        fields                        the top-level fields that the rest looks at
        start(budget) -> Run          the rest: feed it, then finish it

Source: MongoDB manual, "Aggregation Pipeline Optimization".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from parquedb.documents.aggregation.parsers import Stage, parse_stage, sorting
from parquedb.documents.aggregation.stages import Document, Running
from parquedb.documents.budget import Budget, size_of
from parquedb.documents.sorting import Sort
from parquedb.documents.values import type_name
from parquedb.errors import InvalidPipelineError, ParqueDBError, QueryError

STAGES_MAX: Final = 100
RESULTS_MAX: Final = 100_000
TOP_MAX: Final = 100_000
"""The most documents of a `$sort` with `$skip` and `$limit` that the scan puts in order."""

_STEP: Final = 1_000


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline, ready to run.

    Attributes:
        filters: Filters of the `$match` stages that begin it.
        sort: The order that the scan gives; None for any.
        skip: How many the scan leaves out.
        limit: How many the scan returns at most; None for all.
        stages: The rest.
        fields: Top-level fields that the rest looks at; None for whole documents.
    """

    filters: tuple[Mapping[str, Any], ...]
    sort: Sort | None
    skip: int
    limit: int | None
    stages: tuple[Stage, ...]
    fields: frozenset[str] | None

    def start(self, budget: Budget) -> Run:
        """Begin a run."""
        return Run(self.stages, budget)


class Run:
    """One run of a pipeline.

    Attributes:
        results: What has come out so far.
    """

    __slots__ = ("_budget", "_running", "_stages", "results", "stopped")

    def __init__(self, stages: Sequence[Stage], budget: Budget) -> None:
        self._stages = stages
        self._running = [stage.start(budget) for stage in stages]
        self._budget = budget
        self.results: list[Document] = []
        self.stopped = False
        """Set it to have a step end early, when nobody waits for the results any more."""

    def feed(self, documents: Iterable[Document]) -> bool:
        """Take documents in; return whether more can change anything.

        Raises:
            InvalidPipelineError: an operator cannot take a value.
            QueryMemoryError: more memory is needed than allowed.
            QueryError: more than `RESULTS_MAX` documents come out.
        """
        self._push(documents, 0)
        return not any(stage.full for stage in self._running)

    def finish(self) -> Iterator[None]:
        """Let the stages give what they hold; each step is a bounded piece of work. Raises like `feed`."""
        for at, running in enumerate(self._running):
            rest = running.finish()
            while batch := list(islice(rest, _STEP)):
                self._push(batch, at + 1)
                yield

    def _push(self, documents: Iterable[Document], at: int) -> None:
        for stage, running in zip(self._stages[at:], self._running[at:], strict=True):
            documents = self._through(stage, running, documents)
        for document in documents:
            self._budget.spend(size_of(document))
            self.results.append(document)
            if len(self.results) > RESULTS_MAX:
                raise QueryError(f"aggregate: more than {RESULTS_MAX:,} documents come out; add $limit or $group")

    def _through(self, stage: Stage, running: Running, documents: Iterable[Document]) -> Iterator[Document]:
        """Feed a stage; a refusal says which one it is from."""
        try:
            for document in running.feed(documents):
                if self.stopped:
                    return
                yield document
        except InvalidPipelineError as error:
            raise error if error.stage is not None else _at_stage(error, stage.position) from None


def parse_pipeline(source: Any) -> Pipeline:
    """Read a pipeline.

    Raises:
        InvalidPipelineError: a stage or operator is not understood; its `stage` says where.
        InvalidFilterError: a filter of `$match` is not understood.
        InvalidSortError: an order of `$sort` is not understood.
    """
    if isinstance(source, str | bytes | Mapping) or not isinstance(source, Sequence):
        raise InvalidPipelineError(f"pipeline: expected a list of stages, got {type_name(source)}")
    if len(source) > STAGES_MAX:
        raise InvalidPipelineError(f"pipeline: expected at most {STAGES_MAX} stages, got {len(source)}")
    parsed: list[Stage] = []
    for position, stage in enumerate(source):
        try:
            parsed += parse_stage(stage, position)
        except InvalidPipelineError as error:
            raise _at_stage(error, position) from None
        except ParqueDBError as error:
            error.add_note(f"in pipeline[{position}]")
            raise
    return _planned(parsed)


def _at_stage(error: InvalidPipelineError, position: int) -> InvalidPipelineError:
    return InvalidPipelineError(
        f"pipeline[{position}]: {error.message}", operator=error.operator, path=error.path, stage=position
    )


def _planned(stages: list[Stage]) -> Pipeline:
    """Take off what the scan can do, and see what the rest looks at."""
    filters = []
    while stages and stages[0].name == "$match":
        filters.append(stages.pop(0).operand)
    sort, skip, limit = None, 0, None
    names = [stage.name for stage in stages[:3]]
    with_sort = int(names[:1] == ["$sort"])
    with_skip = int(names[with_sort : with_sort + 1] == ["$skip"])
    end = with_sort + with_skip
    if names[end : end + 1] == ["$limit"]:
        skip = stages[with_sort].operand if with_skip else 0
        if skip + stages[end].operand <= TOP_MAX:
            limit = stages[end].operand
            # The scan puts equal documents in the order of `$id`.
            sort = Sort(stages[0].operand.fields) if with_sort else Sort(())
            stages = stages[end + 1 :]
        else:
            skip = 0
    return Pipeline(tuple(filters), sort, skip, limit, tuple(_bounded_sorts(stages)), _needed(stages))


def _bounded_sorts(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Tell each `$sort` how many the stages right behind it let through."""
    for at, stage in enumerate(stages):
        if stage.name != "$sort":
            yield stage
            continue
        skip = 0
        limit = None
        for later in stages[at + 1 :]:
            if later.name == "$skip":
                skip += later.operand
            elif later.name == "$limit":
                limit = skip + later.operand
                break
            else:
                break
        if limit is not None and limit > TOP_MAX:
            limit = None
        yield replace(stage, start=sorting(stage.operand, limit))


def _needed(stages: Sequence[Stage]) -> frozenset[str] | None:
    needed: set[str] = set()
    for stage in stages:
        if stage.reads is None:
            return None
        needed |= stage.reads
        if stage.ends:
            return frozenset(needed)
    return None
