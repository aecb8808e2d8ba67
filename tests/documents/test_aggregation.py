"""Pipelines over plain lists: what each stage and operator makes, by the examples and words of MongoDB's manual."""

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from parquedb.documents.aggregation import RESULTS_MAX, parse_pipeline
from parquedb.documents.budget import Budget
from parquedb.documents.filters import compile_filter
from parquedb.errors import InvalidFilterError, InvalidPipelineError, InvalidSortError, QueryError, QueryMemoryError


def run(documents: Iterable[dict[str, Any]], *stages: dict[str, Any], memory: int = 1 << 24) -> list[dict[str, Any]]:
    """Run a pipeline as the engine does, the part that is pushed down included."""
    pipeline = parse_pipeline(list(stages))
    found = list(documents)
    for source in pipeline.filters:
        found = list(filter(compile_filter(source).matches, found))
    if pipeline.limit is not None and pipeline.sort is not None:
        found = sorted(found, key=pipeline.sort.key)[pipeline.skip : pipeline.skip + pipeline.limit]
    if pipeline.fields is not None:
        # The scan brings nothing else.
        found = [{name: one[name] for name in one if name in pipeline.fields} for one in found]
    aggregation = pipeline.start(Budget(memory))
    for at in range(0, len(found), 3):
        if not aggregation.feed(found[at : at + 3]):
            break
    for _ in aggregation.finish():
        pass
    return aggregation.results


def value(expression: Any, **fields: Any) -> Any:
    """Compute one expression; "missing" where it has no value."""
    [found] = run([fields], {"$project": {"value": {"$ifNull": [expression, expression]}}})
    return found.get("value", "missing")


INSTANT = datetime(2024, 2, 29, 13, 45, 59, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$a", 5),
        ("$d.x", 1),
        ("$l.x", [1, 2]),
        ("$l.0", []),
        ("$none", "missing"),
        ("$a.b", "missing"),
        ("$$ROOT.a", 5),
        ("$$REMOVE", "missing"),
        ("$$id", "n/1"),
        ({"$literal": "$a"}, "$a"),
        ({"x": "$a", "y": "$none"}, {"x": 5}),
        (["$a", "$none"], [5, None]),
        ({"$add": ["$a", 2, 0.5]}, 7.5),
        ({"$add": ["$t", 1000]}, INSTANT.replace(minute=46, second=0)),
        ({"$add": ["$a", None]}, None),
        ({"$add": [Decimal("0.1"), 0.2]}, Decimal("0.3")),
        ({"$add": []}, 0),
        ({"$subtract": ["$a", 7]}, -2),
        ({"$subtract": ["$t", datetime(2024, 2, 29, tzinfo=UTC)]}, 49_559_123),
        ({"$subtract": ["$t", 59_123]}, INSTANT.replace(second=0, microsecond=456)),
        ({"$multiply": ["$a", 3, 2]}, 30),
        ({"$multiply": [2**70, 2]}, 2**71),
        ({"$divide": ["$a", 2]}, 2.5),
        ({"$divide": [Decimal(1), 3]}, Decimal("0.3333333333333333333333333333333333")),
        ({"$mod": [-7, 3]}, -1),
        ({"$mod": [7.5, -2]}, 1.5),
        ({"$abs": -3}, 3),
        ({"$abs": Decimal("-1.50")}, Decimal("1.50")),
        ({"$ceil": 2.1}, 3.0),
        ({"$floor": -2.1}, -3.0),
        ({"$round": [2.5]}, 2.0),
        ({"$round": [1234.5678, 2]}, 1234.57),
        ({"$round": [1250, -2]}, 1200),
        ({"$round": [math.inf, 1]}, math.inf),
        ({"$concat": ["$s", "-", "x"]}, "Ab-x"),
        ({"$concat": ["$s", "$none"]}, None),
        ({"$toUpper": "$s"}, "AB"),
        ({"$toLower": "$none"}, ""),
        ({"$strLenCP": "é😀"}, 2),
        ({"$substrCP": ["$s", 1, 5]}, "b"),
        ({"$split": ["a,b", ","]}, ["a", "b"]),
        ({"$eq": ["$a", 5.0]}, True),
        ({"$eq": ["$none", None]}, False),
        ({"$lt": ["$none", None]}, True),
        ({"$gt": ["x", 5]}, True),
        ({"$cmp": [[1, 2], [1, 3]]}, -1),
        ({"$ne": [True, 1]}, True),
        ({"$and": ["", [], {}]}, True),
        ({"$and": ["$a", 0]}, False),
        ({"$or": [None, "$none", False]}, False),
        ({"$not": ["$none"]}, True),
        ({"$cond": [{"$gte": ["$a", 5]}, "big", "small"]}, "big"),
        ({"$cond": {"if": False, "then": 1, "else": "$s"}}, "Ab"),
        ({"$ifNull": ["$none", "$null", "z"]}, "z"),
        ({"$switch": {"branches": [{"case": {"$eq": ["$a", 5]}, "then": "five"}], "default": 0}}, "five"),
        ({"$size": "$l"}, 2),
        ({"$isArray": "$a"}, False),
        ({"$in": [5.0, ["x", 5]]}, True),
        ({"$arrayElemAt": ["$l", -1]}, {"x": 2}),
        ({"$arrayElemAt": ["$l", 9]}, "missing"),
        ({"$first": "$l"}, {"x": 1}),
        ({"$last": [[]]}, "missing"),
        ({"$concatArrays": [[1], ["$a"]]}, [1, 5]),
        ({"$mergeObjects": ["$d", {"y": 2}, None]}, {"x": 1, "y": 2}),
        ({"$sum": ["$a", "x", 2]}, 7),
        ({"$sum": "$l.x"}, 3),
        ({"$avg": [1, 2]}, 1.5),
        ({"$avg": ["x"]}, None),
        ({"$min": ["$none", 3, "a"]}, 3),
        ({"$max": ["$l.x", 1]}, [1, 2]),
        ({"$year": "$t"}, 2024),
        ({"$month": "$t"}, 2),
        ({"$dayOfMonth": date(2024, 2, 29)}, 29),
        ({"$dayOfWeek": "$t"}, 5),
        ({"$dayOfYear": "$t"}, 60),
        ({"$hour": "$t"}, 13),
        ({"$millisecond": "$t"}, 123),
        ({"$year": "$none"}, None),
        ({"$dateTrunc": {"date": "$t", "unit": "hour"}}, datetime(2024, 2, 29, 13, tzinfo=UTC)),
        ({"$dateTrunc": {"date": "$t", "unit": "week"}}, datetime(2024, 2, 25, tzinfo=UTC)),
        (
            {"$dateTrunc": {"date": "$t", "unit": "week", "startOfWeek": "Monday"}},
            datetime(2024, 2, 26, tzinfo=UTC),
        ),
        ({"$dateTrunc": {"date": "$t", "unit": "quarter"}}, datetime(2024, 1, 1, tzinfo=UTC)),
        ({"$dateTrunc": {"date": "$t", "unit": "month", "binSize": 5}}, datetime(2023, 10, 1, tzinfo=UTC)),
        ({"$dateTrunc": {"date": "$t", "unit": "minute", "binSize": 30}}, datetime(2024, 2, 29, 13, 30, tzinfo=UTC)),
        ({"$dateTrunc": {"date": "$none", "unit": "day"}}, None),
        ({"$dateToString": {"date": "$t"}}, "2024-02-29T13:45:59.123Z"),
        ({"$dateToString": {"date": "$t", "format": "%Y-%j w%V %%"}}, "2024-060 w09 %"),
        ({"$dateToString": {"date": "$none", "onNull": "?"}}, "?"),
    ],
)
def test_an_expression(expression: Any, expected: Any) -> None:
    fields = {"$id": "n/1", "a": 5, "s": "Ab", "d": {"x": 1}, "l": [{"x": 1}, 7, {"x": 2}][::2], "null": None}
    found = value(expression, **fields, t=INSTANT)
    assert found == expected
    assert type(found) is type(expected)


SALES = [
    {"$id": "n/1", "item": "abc", "price": 10, "quantity": 2, "on": 3, "tags": ["x", "y"]},
    {"$id": "n/2", "item": "jkl", "price": 20, "quantity": 1, "on": 1, "tags": ["y"]},
    {"$id": "n/3", "item": "xyz", "price": 5, "quantity": 10, "on": 2, "tags": []},
    {"$id": "n/4", "item": "abc", "price": 10, "quantity": 10, "on": 4, "tags": None},
    {"$id": "n/5", "item": "xyz", "price": 5.5, "quantity": None, "on": 5},
]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([{"$match": {"item": "abc"}}, {"$count": "found"}], [{"found": 2}]),
        ([{"$match": {"item": "none"}}, {"$count": "found"}], []),
        (
            [{"$group": {"_id": "$item", "n": {"$count": {}}, "sum": {"$sum": "$quantity"}}}, {"$sort": {"_id": 1}}],
            [
                {"_id": "abc", "n": 2, "sum": 12},
                {"_id": "jkl", "n": 1, "sum": 1},
                {"_id": "xyz", "n": 2, "sum": 10},
            ],
        ),
        (
            [{"$sort": {"on": 1}}, {"$group": {"_id": None, "first": {"$first": "$item"}, "last": {"$last": "$tags"}}}],
            [{"_id": None, "first": "jkl", "last": None}],
        ),
        (
            [
                {
                    "$group": {
                        "_id": None,
                        "avg": {"$avg": "$quantity"},
                        "min": {"$min": "$price"},
                        "max": {"$max": "$item"},
                    }
                }
            ],
            [{"_id": None, "avg": 5.75, "min": 5, "max": "xyz"}],
        ),
        ([{"$group": {"_id": {"i": "$nope"}, "n": {"$sum": 1}}}], [{"_id": {}, "n": 5}]),
        ([{"$group": {"_id": "$nope"}}], [{"_id": None}]),
        (
            [{"$group": {"_id": None, "all": {"$push": "$quantity"}, "set": {"$addToSet": "$price"}}}],
            [{"_id": None, "all": [2, 1, 10, 10, None], "set": [10, 20, 5, 5.5]}],
        ),
        (
            [{"$unwind": "$tags"}, {"$sortByCount": "$tags"}],
            [{"_id": "y", "count": 2}, {"_id": "x", "count": 1}],
        ),
        (
            [
                {"$unwind": {"path": "$tags", "includeArrayIndex": "at", "preserveNullAndEmptyArrays": True}},
                {"$project": {"tags": 1, "at": 1}},
            ],
            [
                {"$id": "n/1", "tags": "x", "at": 0},
                {"$id": "n/1", "tags": "y", "at": 1},
                {"$id": "n/2", "tags": "y", "at": 0},
                {"$id": "n/3", "at": None},
                {"$id": "n/4", "tags": None, "at": None},
                {"$id": "n/5", "at": None},
            ],
        ),
        (
            [{"$sort": {"price": -1, "on": 1}}, {"$skip": 1}, {"$limit": 2}, {"$project": {"$id": 1}}],
            [{"$id": "n/1"}, {"$id": "n/4"}],
        ),
        ([{"$sort": {"$id": -1}}, {"$limit": 1}, {"$project": {"on": 1, "$id": 0}}], [{"on": 5}]),
        ([{"$limit": 2}, {"$sort": {"$id": -1}}, {"$project": {"$id": 1}}], [{"$id": "n/2"}, {"$id": "n/1"}]),
        ([{"$skip": 4}, {"$project": {"$id": 1}}], [{"$id": "n/5"}]),
        (
            [
                {"$match": {"on": 1}},
                {"$set": {"total": {"$multiply": ["$price", "$quantity"]}, "item": "$$REMOVE", "meta.a": "$on"}},
                {"$unset": ["tags", "price"]},
            ],
            [{"$id": "n/2", "quantity": 1, "on": 1, "total": 20, "meta": {"a": 1}}],
        ),
        (
            [
                {"$addFields": {"double": {"$multiply": ["$on", 2]}}},
                {"$match": {"double": {"$gt": 8}}},
                {"$count": "n"},
            ],
            [{"n": 1}],
        ),
    ],
)
def test_a_pipeline(stages: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert run(SALES, *stages) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"a": 1}, {"$id": "n/1", "_id": 7, "a": {"b": [{"c": 1, "d": 2}, 5, [{"c": 3}]]}}),
        ({"a.b.c": 1, "_id": 0}, {"$id": "n/1", "a": {"b": [{"c": 1}, [{"c": 3}]]}}),
        ({"a": {"b": {"c": 1}}, "$id": 0, "_id": 0}, {"a": {"b": [{"c": 1}, [{"c": 3}]]}}),
        ({"a.b.d": 0, "x": 0}, {"$id": "n/1", "_id": 7, "a": {"b": [{"c": 1}, 5, [{"c": 3}]]}}),
        ({"$id": 0}, {"_id": 7, "a": {"b": [{"c": 1, "d": 2}, 5, [{"c": 3}]]}, "x": 1}),
        ({"y": "$x", "z": "text", "_id": 0}, {"$id": "n/1", "y": 1, "z": "text"}),
        ({"_id": "$x", "x.y": {"$literal": 1}}, {"$id": "n/1", "_id": 1, "x": {"y": 1}}),
        ({"_id": 0, "a.b.e": "$x"}, {"$id": "n/1", "a": {"b": [{"e": 1}, {"e": 1}, [{"e": 1}]]}}),
    ],
)
def test_a_projection_of_a_pipeline(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    document = {"$id": "n/1", "_id": 7, "a": {"b": [{"c": 1, "d": 2}, 5, [{"c": 3}]]}, "x": 1}
    assert run([document], {"$project": spec}) == [expected]


def test_documents_are_not_changed() -> None:
    document = {"$id": "n/1", "a": {"b": [1, 2]}, "c": 1}
    before = {"$id": "n/1", "a": {"b": [1, 2]}, "c": 1}
    run(
        [document],
        {"$unwind": {"path": "$a.b", "includeArrayIndex": "a.at"}},
        {"$set": {"a.b": 5, "a.x": 1}},
        {"$unset": "a.at"},
    )
    assert document == before


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("x", "pipeline: expected a list of stages, got str"),
        ([{"$match": {}}] * 101, "pipeline: expected at most 100 stages, got 101"),
        ([5], r"pipeline\[0\]: expected a dict of one stage such as .* got int"),
        ([{"$match": {}, "$limit": 1}], r"pipeline\[0\]: expected a dict of one stage .* got a dict of 2 keys"),
        ([{"$lookup": {}}], r"pipeline\[0\]: \$lookup is no stage here; supported are \$match, \$group"),
        ([{"$limit": 1}, {"$limit": 0}], r"pipeline\[1\]: \$limit: expected a whole number from 1, got 0"),
        ([{"$skip": -1}], r"\$skip: expected a whole number from 0, got -1"),
        ([{"$count": "a.b"}], r"\$count: expected a field name without dots"),
        ([{"$unwind": "tags"}], r'\$unwind: expected a path such as "\$tags"'),
        ([{"$unwind": {"path": "$a", "x": 1}}], r"\$unwind: expected path, includeArrayIndex or .* got 'x'"),
        ([{"$group": {"n": {"$sum": 1}}}], r'\$group: expected a dict with "_id"'),
        ([{"$group": {"_id": 1, "n": 5}}], r"\$group: expected an accumulator such as .* for 'n'"),
        ([{"$group": {"_id": 1, "n": {"$median": 1}}}], r"\$median is no accumulator here; supported are \$count"),
        ([{"$group": {"_id": 1, "a.b": {"$sum": 1}}}], r"\$group: expected a field name without dots"),
        ([{"$project": {}}], r"\$project: expected a dict of fields, got an empty dict"),
        ([{"$project": {"a": 1, "b": 0}}], r"\$project: expected to include or to exclude fields, got both \('b'\)"),
        ([{"$project": {"a": 1, "a.b": 1}}], r"\$project: 'a.b' is named together with a part of it"),
        ([{"$project": {"a": {"$foo": 1}}}], r"\$foo is no operator of expressions here; supported are \$abs, \$add"),
        ([{"$set": {"a": {"$add": 1, "b": 1}}}], "expected one operator in an expression, got"),
        ([{"$set": {"a": {"$divide": [1]}}}], r"\$divide: expected 2 operands, got 1"),
        ([{"$set": {"a": {"$cond": {"if": 1}}}}], r"\$cond: 'then' is missing"),
        ([{"$set": {"a": {"$switch": {"branches": []}}}}], r"\$switch: expected a list of branches"),
        ([{"$set": {"a": {"$dateTrunc": {"date": 1, "unit": "day", "timezone": "x"}}}}], "got 'timezone'"),
        ([{"$set": {"a": "$$NOW"}}], r"'\$\$NOW': expected one of \$\$ROOT"),
        ([{"$set": {"a": "$a..b"}}], r"'\$a\.\.b' is no field"),
        ([{"$set": {"a": object()}}], "expected one of None, bool"),
        ([{"$set": {"a": [1] * 1_001}}], "expected at most 1,000 operands in one stage"),
        ([{"$unset": []}], r"\$unset: expected a field or a list of fields"),
        ([{"$sortByCount": "tag"}], r'\$sortByCount: expected an expression such as "\$tag"'),
        ([{"$sort": {}}], r"\$sort: expected at least one field"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(stages: Any, message: str) -> None:
    with pytest.raises(InvalidPipelineError, match=message):
        parse_pipeline(stages)


def test_filters_and_orders_are_refused_as_everywhere() -> None:
    with pytest.raises(InvalidFilterError, match=r"\$match: expected a filter, got NoneType"):
        parse_pipeline([{"$match": None}])
    with pytest.raises(InvalidFilterError) as raised:
        parse_pipeline([{"$limit": 1}, {"$match": {"a": {"$foo": 1}}}])
    assert raised.value.__notes__ == ["in pipeline[1]"]
    with pytest.raises(InvalidSortError, match="direction of 'a'"):
        parse_pipeline([{"$sort": {"a": 2}}])


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"$add": ["x", 1]}, r"\$add: expected numbers, or a datetime and milliseconds, got str"),
        ({"$divide": [1, 0]}, "cannot divide by zero"),
        ({"$mod": [1, 0]}, "cannot divide by zero"),
        ({"$multiply": ["$a", True]}, r"\$multiply: expected numbers, got bool"),
        ({"$concat": ["a", 5]}, r"\$concat: expected texts, got int"),
        ({"$toUpper": 5}, r"\$toUpper: expected a text, got int"),
        ({"$size": "$none"}, r"\$size: expected a list, got a missing value"),
        ({"$year": "x"}, r"\$year: expected a datetime or date, got str"),
        ({"$dateTrunc": {"date": "$t", "unit": "eon"}}, r"\$dateTrunc: expected one of millisecond, .* got 'eon'"),
        ({"$dateToString": {"date": "$t", "format": "%Q"}}, "in format, got '%Q'"),
        ({"$add": ["$t", 1e300]}, r"\$add: expected a datetime between the years 1 and 9999"),
        ({"$multiply": [2**40_000, 2**40_000]}, "an int of more than 65,536 bits"),
        ({"$switch": {"branches": [{"case": False, "then": 1}]}}, r"\$switch: no branch holds"),
    ],
)
def test_a_value_that_an_operator_cannot_take_says_where(expression: Any, message: str) -> None:
    for stage in ({"$set": {"x": expression}}, {"$group": {"_id": expression}}):
        with pytest.raises(InvalidPipelineError, match=message) as raised:
            run([{"a": 1, "t": INSTANT}], {"$skip": 0}, stage)
        assert raised.value.stage == 1
        assert raised.value.message.startswith("pipeline[1]: ")


@pytest.mark.parametrize(
    "stage",
    [
        {"$sort": {"a": 1}},
        {"$group": {"_id": "$a"}},
        {"$group": {"_id": None, "all": {"$push": "$a"}}},
        {"$group": {"_id": None, "all": {"$addToSet": "$a"}}},
        {"$project": {"a": 1}},
    ],
)
def test_memory_is_bounded(stage: dict[str, Any]) -> None:
    documents = [{"$id": f"n/{at}", "a": f"{at}" + "x" * 1_000} for at in range(100)]
    assert run(documents, stage, memory=1 << 20)
    with pytest.raises(QueryMemoryError, match="more memory than its limit 50,000 bytes"):
        run(documents, stage, memory=50_000)


def test_a_sort_with_a_limit_holds_no_more_than_that() -> None:
    documents = [{"$id": f"n/{at}", "a": (at * 7_919) % 10_000, "pad": "x" * 100} for at in range(10_000)]
    found = run(documents, {"$set": {"b": "$a"}}, {"$sort": {"b": -1}}, {"$skip": 2}, {"$limit": 3}, memory=4_000_000)
    assert [one["b"] for one in found] == [9_997, 9_996, 9_995]
    with pytest.raises(QueryMemoryError):
        run(documents, {"$set": {"b": "$a"}}, {"$sort": {"b": -1}}, memory=4_000_000)


def test_values_that_double_are_refused() -> None:
    double = {"$set": {"a": ["$a", "$a"]}}
    with pytest.raises(InvalidPipelineError, match="a computed value is larger than a document may be"):
        run([{"a": "x"}], *[double] * 60)


def test_so_many_results_and_no_more() -> None:
    documents = [{"a": list(range(1_000))}] * (RESULTS_MAX // 1_000)
    assert len(run(documents, {"$unwind": "$a"}, memory=1 << 30)) == RESULTS_MAX
    with pytest.raises(QueryError, match="aggregate: more than 100,000 documents come out"):
        run([*documents, {"a": 1}], {"$unwind": "$a"}, memory=1 << 30)


def test_a_run_that_nobody_waits_for_ends() -> None:
    aggregation = parse_pipeline([{"$unwind": "$a"}]).start(Budget(1 << 20))
    aggregation.stopped = True
    aggregation.feed([{"a": [1, 2]}])
    assert aggregation.results == []


def test_floats_are_summed_without_losing_the_small_ones() -> None:
    documents = [{"a": 1.0}, {"a": 1e100}, {"a": 1.0}, {"a": -1e100}]
    assert run(documents, {"$group": {"_id": None, "sum": {"$sum": "$a"}}}) == [{"_id": None, "sum": 2.0}]


@pytest.mark.parametrize(
    ("stages", "fields"),
    [
        ([], None),
        ([{"$group": {"_id": "$a.b", "n": {"$sum": "$c"}}}, {"$sort": {"x": 1}}], {"a", "c"}),
        ([{"$match": {"z": 1}}, {"$count": "n"}], set()),
        ([{"$unwind": "$t"}, {"$match": {"$or": [{"y": 1}, {"x.z": 1}]}}, {"$count": "n"}], {"t", "x", "y"}),
        ([{"$project": {"a": 1, "b": {"$add": ["$c", 1]}}}], {"$id", "_id", "a", "b", "c"}),
        ([{"$project": {"a": 0}}], None),
        ([{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}], None),
    ],
)
def test_the_scan_is_asked_for_the_fields_that_are_looked_at(stages: list[Any], fields: set[str] | None) -> None:
    assert parse_pipeline(stages).fields == fields


def test_the_beginning_of_a_pipeline_is_left_to_the_scan() -> None:
    pipeline = parse_pipeline([{"$match": {"a": 1}}, {"$match": {"b": 1}}, {"$sort": {"a": -1}}, {"$limit": 5}])
    assert pipeline.filters == ({"a": 1}, {"b": 1})
    assert pipeline.sort is not None
    assert (pipeline.sort.to_wire(), pipeline.skip, pipeline.limit) == ([["a", -1]], 0, 5)
    assert pipeline.stages == ()
    unlimited = parse_pipeline([{"$sort": {"a": -1}}, {"$skip": 1}])
    assert (unlimited.sort, unlimited.skip, unlimited.limit, len(unlimited.stages)) == (None, 0, None, 2)
