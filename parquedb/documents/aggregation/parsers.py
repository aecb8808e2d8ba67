"""Reading the stages of a pipeline, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from parquedb.documents.aggregation.accumulators import ACCUMULATORS
from parquedb.documents.aggregation.expressions import Compiler, Evaluate
from parquedb.documents.aggregation.shaping import add_fields, project, unset
from parquedb.documents.aggregation.stages import (
    Counting,
    Flow,
    Flowing,
    Grouping,
    Limiting,
    Running,
    Skipping,
    Sorting,
    Unwind,
)
from parquedb.documents.budget import Budget
from parquedb.documents.filters import compile_filter
from parquedb.documents.paths import Path, PathError, split_path
from parquedb.documents.sorting import Sort, parse_sort
from parquedb.documents.values import type_name
from parquedb.errors import InvalidFilterError, InvalidPipelineError
from parquedb.errors.plain import repr_of

_COUNT_MAX: Final = 2**63 - 1

Start = Callable[[Budget], Running]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: Such as `$match`.
        position: In the pipeline as given, from 0.
        start: Makes the state of one run.
        reads: Top-level fields it looks at; None for the whole document.
        ends: Whether later stages see only what this one makes, not the fields of the documents.
        operand: What it was made of, where others need that: the filter, the sort order, the number.
    """

    name: str
    position: int
    start: Start
    reads: frozenset[str] | None
    ends: bool = False
    operand: Any = None


def parse_stage(source: Any, position: int) -> list[Stage]:
    """Read the stage at a position; a few are short for two.

    Raises:
        InvalidPipelineError: it is not understood.
        InvalidFilterError: the filter of a `$match` is not understood.
        InvalidSortError: the order of a `$sort` is not understood.
    """
    if not isinstance(source, Mapping) or len(source) != 1:
        got = f"a dict of {len(source)} keys" if isinstance(source, Mapping) else type_name(source)
        raise InvalidPipelineError(f'expected a dict of one stage such as {{"$match": {{...}}}}, got {got}')
    [(name, operand)] = source.items()
    parser = _PARSERS.get(name) if isinstance(name, str) else None
    if parser is None:
        raise InvalidPipelineError(
            f"{name!s:.80} is no stage here; supported are {', '.join(_PARSERS)}", operator=str(name)[:80]
        )
    return [replace(stage, position=position) for stage in parser(operand)]


def sorting(sort: Sort, limit: int | None) -> Start:
    """Return what starts a `$sort` of which only the first `limit` documents count; None: all."""
    return lambda budget: Sorting(sort, limit, budget)


def _flowing(name: str, flow: Flow, reads: frozenset[str] | None, *, ends: bool = False) -> Stage:
    return Stage(name, 0, lambda _: Flowing(flow), reads, ends)


def _reads(compiler: Compiler) -> frozenset[str] | None:
    return None if compiler.whole else frozenset(compiler.fields)


def _match(operand: Any) -> list[Stage]:
    if not isinstance(operand, Mapping):
        raise InvalidFilterError(f"$match: expected a filter, got {type_name(operand)}")
    matches = compile_filter(operand).matches
    stage = _flowing("$match", lambda documents: filter(matches, documents), _filter_fields(operand))
    return [replace(stage, operand=operand)]


def _filter_fields(source: Any) -> frozenset[str] | None:
    """Return the top-level fields that a filter names; None if it may look at others."""
    found: set[str] = set()
    for name, condition in source.items():
        if name in {"$and", "$or", "$nor"}:
            for part in condition:
                below = _filter_fields(part)
                if below is None:
                    return None
                found |= below
        elif name.startswith("$") and name.partition(".")[0] not in {"$id", "$type"}:
            return None
        else:
            found.add(name.partition(".")[0])
    return frozenset(found)


def _project(operand: Any) -> list[Stage]:
    compiler = Compiler()
    flow, including = project(compiler, operand)
    return [_flowing("$project", flow, _reads(compiler), ends=including)]


def _add_fields(operand: Any) -> list[Stage]:
    compiler = Compiler()
    flow = add_fields(compiler, operand)
    return [_flowing("$addFields", flow, _reads(compiler))]


def _unset(operand: Any) -> list[Stage]:
    return [_flowing("$unset", unset(operand), frozenset())]


def _unwind(operand: Any) -> list[Stage]:
    options = operand if isinstance(operand, Mapping) else {"path": operand}
    for name in options:
        if name not in {"path", "includeArrayIndex", "preserveNullAndEmptyArrays"}:
            raise InvalidPipelineError(
                f"$unwind: expected path, includeArrayIndex or preserveNullAndEmptyArrays, got {name!r:.80}"
            )
    path = options.get("path")
    if not isinstance(path, str) or not path.startswith("$"):
        raise InvalidPipelineError('$unwind: expected a path such as "$tags"')
    index = options.get("includeArrayIndex")
    if index is not None and (not isinstance(index, str) or index.startswith("$")):
        raise InvalidPipelineError("$unwind: expected the name of a field as includeArrayIndex")
    keep = options.get("preserveNullAndEmptyArrays", False)
    if type(keep) is not bool:
        raise InvalidPipelineError("$unwind: expected True or False as preserveNullAndEmptyArrays")
    steps = _path("$unwind", path[1:])
    flow = Unwind(steps, None if index is None else _path("$unwind", index), keep)
    return [_flowing("$unwind", flow, frozenset({steps[0]}))]


def _path(stage: str, text: str) -> Path:
    try:
        return split_path(text)
    except PathError as error:
        raise InvalidPipelineError(f"{stage}: {text[:80]!r} is no field: {error}") from None


def _sort(operand: Any) -> list[Stage]:
    sort = parse_sort(operand, with_id=False)
    if not sort.fields:
        raise InvalidPipelineError("$sort: expected at least one field")
    reads = frozenset(field.path[0] for field in sort.fields)
    return [Stage("$sort", 0, sorting(sort, None), reads, operand=sort)]


def _limit(operand: Any) -> list[Stage]:
    number = _count_of("$limit", operand, 1)
    return [Stage("$limit", 0, lambda _: Limiting(number), frozenset(), operand=number)]


def _skip(operand: Any) -> list[Stage]:
    number = _count_of("$skip", operand, 0)
    return [Stage("$skip", 0, lambda _: Skipping(number), frozenset(), operand=number)]


def _count_of(stage: str, value: Any, low: int) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not low <= value <= _COUNT_MAX:
        raise InvalidPipelineError(f"{stage}: expected a whole number from {low}, got {repr_of(value):.40}")
    return value


def _count(operand: Any) -> list[Stage]:
    if not isinstance(operand, str) or not operand or operand.startswith("$") or "." in operand or "\0" in operand:
        raise InvalidPipelineError("$count: expected a field name without dots that does not start with $")
    return [Stage("$count", 0, lambda _: Counting(operand), frozenset(), ends=True)]


def _group(operand: Any) -> list[Stage]:
    if not isinstance(operand, Mapping) or "_id" not in operand:
        raise InvalidPipelineError('$group: expected a dict with "_id", the expression to group by')
    compiler = Compiler()
    key = compiler.compile(operand["_id"])
    fields = tuple(_accumulated(compiler, name, spec) for name, spec in operand.items() if name != "_id")
    return [Stage("$group", 0, lambda budget: Grouping(key, fields, budget), _reads(compiler), ends=True)]


def _accumulated(compiler: Compiler, name: Any, spec: Any) -> tuple[str, Evaluate, Any]:
    if not isinstance(name, str) or not name or name.startswith("$") or "." in name:
        raise InvalidPipelineError(f"$group: expected a field name without dots and $, got {name!r:.80}")
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise InvalidPipelineError(f'$group: expected an accumulator such as {{"$sum": 1}} for {name!r}')
    [(operator, operand)] = spec.items()
    if operator == "$count":
        if operand != {}:
            raise InvalidPipelineError("$count: expected {}", operator=operator)
        return name, compiler.compile(1), ACCUMULATORS["$sum"]
    make = ACCUMULATORS.get(operator)
    if make is None:
        known = ", ".join(["$count", *ACCUMULATORS])
        raise InvalidPipelineError(
            f"{operator!s:.80} is no accumulator here; supported are {known}", operator=str(operator)[:80]
        )
    return name, compiler.compile(operand), make


def _sort_by_count(operand: Any) -> list[Stage]:
    if not (isinstance(operand, Mapping) or (isinstance(operand, str) and operand.startswith("$"))):
        raise InvalidPipelineError('$sortByCount: expected an expression such as "$tag"')
    return [*_group({"_id": operand, "count": {"$sum": 1}}), *_sort({"count": -1})]


_PARSERS: Final[dict[str, Callable[[Any], list[Stage]]]] = {
    "$match": _match,
    "$group": _group,
    "$sort": _sort,
    "$project": _project,
    "$limit": _limit,
    "$skip": _skip,
    "$unwind": _unwind,
    "$count": _count,
    "$addFields": _add_fields,
    "$set": _add_fields,
    "$unset": _unset,
    "$sortByCount": _sort_by_count,
}
