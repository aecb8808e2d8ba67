"""What one update may do at most, and that it is refused before it takes long."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from parquedb.documents.aggregation import parse_pipeline
from parquedb.documents.budget import Budget
from parquedb.documents.filters import compile_filter
from parquedb.documents.update_tree import ELEMENT_STEPS_MAX, PADDING_MAX
from parquedb.documents.updates import compile_update
from parquedb.documents.values import INT_BITS_MAX
from parquedb.errors import InvalidPipelineError, InvalidUpdateError, ValidationError

LONG = (1 << INT_BITS_MAX) - 1
HUGE = (1 << 12_000_000) - 1
"""A few milliseconds to copy or add, many seconds to multiply or to turn into a Decimal."""


def refusal(ops: Any, document: dict[str, Any], **more: Any) -> InvalidUpdateError:
    with pytest.raises(InvalidUpdateError) as caught:
        compile_update(ops, **more).apply(document)
    return caught.value


def test_the_padding_of_all_arrays_of_an_update_together_has_a_limit() -> None:
    half = PADDING_MAX // 2
    both = compile_update({"$set": {f"a.{half}": 1, f"b.{half}": 1}})
    assert len(both.apply({"a": [], "b": []})["b"]) == half + 1

    error = refusal({"$set": {f"{name}.{half}": 1 for name in "abc"}}, {"a": [], "b": [], "c": []})

    assert error.path == f"c.{half}"
    assert (error.expected, error.actual) == ("at most 1,500,000", "2,250,000")
    assert len(both.apply({"a": [], "b": []})["a"]) == half + 1, "each document has the whole of it"


def test_the_steps_of_an_update_over_elements_together_have_a_limit() -> None:
    items: list[Any] = [{}] * 10_000
    names = {f"a.$[].x{number}": 1 for number in range(ELEMENT_STEPS_MAX // 10_000)}
    assert len(compile_update({"$set": names}).apply({"a": items})["a"][0]) == len(names)

    error = refusal({"$set": {**names, "a.$[].y": 1}}, {"a": items})
    assert (error.path, error.expected, error.actual) == ("a", "at most 5,000,000", "5,010,000")

    error = refusal({"$set": {**names, "b.$[].y": 1}}, {"a": items, "b": items})
    assert (error.path, error.actual) == ("b", "5,010,000")


def test_each_condition_asked_of_an_element_and_each_comparison_is_a_step() -> None:
    items = list(range(100_000))
    conditions = {"$or": [{"n": number} for number in range(60)]}
    named = {"$or": [{"i.n": number} for number in range(60)]}
    first = compile_filter({"a": {"$elemMatch": {"n": 1, **conditions}}})
    for ops, more in (
        ({"$pull": {"a": conditions}}, {}),
        ({"$set": {"a.$[i].m": 1}}, {"array_filters": [named]}),
        ({"$push": {"a": {"$each": [], "$sort": {"x": 1, "y": 1, "z": 1}}}}, {}),
        ({"$set": {"a.$": 1}}, {"matched_by": first}),
    ):
        few = [*items[:1_000], {"n": 1}]
        assert len(compile_update(ops, **more).apply({"a": few})["a"]) >= 1_000
        error = refusal(ops, {"a": items}, **more)
        assert (error.path, error.expected) == ("a", "at most 5,000,000")


@pytest.mark.parametrize(
    ("ops", "old"),
    [
        ({"$mul": {"a": 2}}, HUGE),
        ({"$mul": {"a": LONG}}, 2),
        ({"$mul": {"a": Decimal(1)}}, HUGE),
        ({"$inc": {"a": 1}}, LONG),
        ({"$inc": {"a": 1}}, HUGE),
        ({"$inc": {"a": -1}}, -LONG),
        ({"$inc": {"a": Decimal("0.5")}}, HUGE),
        ({"$bit": {"a": {"or": 1}}}, HUGE),
    ],
    ids=["huge old", "long", "Decimal", "sum", "sum", "below", "Decimal sum", "bits"],
)
def test_arithmetic_makes_no_longer_int_than_the_limit_and_says_so_at_once(ops: Any, old: Any) -> None:
    started = time.process_time()
    error = refusal(ops, {"a": old})

    assert time.process_time() - started < 1
    assert error.path == "a"
    assert (error.expected, error.actual) == (
        "an int of at most 65536 bits",
        "an int of more than 65536 bits",
    )


@pytest.mark.parametrize("operator", ["$set", "$mul", "$push", "$min"])
def test_an_operand_longer_than_any_int_may_be_is_refused_at_once(operator: str) -> None:
    with pytest.raises(ValidationError, match=r"expected an int of at most 65,536 bits, got one of 12,000,000 bits"):
        compile_update({operator: {"a": HUGE}})


def test_ints_up_to_the_limit_are_exact() -> None:
    assert compile_update({"$inc": {"a": 1}}).apply({"a": LONG - 1}) == {"a": LONG}
    assert compile_update({"$mul": {"a": 1}}).apply({"a": LONG}) == {"a": LONG}
    half = 1 << (INT_BITS_MAX // 2 - 1)
    assert compile_update({"$mul": {"a": 2 * half}}).apply({"a": half}) == {"a": 2 * half * half}
    assert compile_update({"$bit": {"a": {"xor": LONG}}}).apply({"a": LONG}) == {"a": 0}


def test_a_decimal_of_too_many_digits_is_refused_at_once() -> None:
    digits = Decimal("1." + "3" * 2_000_000)
    started = time.process_time()
    error = refusal({"$mul": {"a": digits}}, {"a": digits})

    assert time.process_time() - started < 1
    assert (error.expected, error.actual) == ("at most 1,000 digits", "too many digits")


@pytest.mark.parametrize(
    "expression",
    [
        {"$multiply": ["$a", "$a"]},
        {"$multiply": ["$a", "$b"]},
        {"$add": ["$a", "$b"]},
        {"$mod": ["$a", {"$add": ["$a", -1]}]},
        {"$divide": ["$a", "$b"]},
        {"$round": ["$a", -2]},
    ],
    ids=["multiply", "multiply Decimal", "add", "mod", "divide", "round"],
)
def test_an_expression_that_would_work_on_huge_ints_is_refused_at_once(expression: Any) -> None:
    aggregation = parse_pipeline([{"$project": {"x": expression}}]).start(Budget(1 << 30))
    started = time.process_time()
    with pytest.raises(InvalidPipelineError, match="an int of more than 65,536 bits"):
        aggregation.feed([{"$id": "n/a", "a": HUGE, "b": Decimal("1.5")}])

    assert time.process_time() - started < 1


def test_a_product_of_decimals_with_many_digits_is_rounded_at_once() -> None:
    digits = Decimal("1." + "3" * 2_000_000)
    aggregation = parse_pipeline([{"$project": {"x": {"$multiply": ["$a", "$a"]}}}]).start(Budget(1 << 30))
    started = time.process_time()
    aggregation.feed([{"$id": "n/a", "a": digits}])

    assert time.process_time() - started < 1
    assert len(aggregation.results[0]["x"].as_tuple().digits) == 1_000


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("op", ["$push", "$addToSet"])
@pytest.mark.parametrize("many", [False, True])
def test_what_goes_into_an_array_counts_the_array_as_a_level(op: str, many: bool) -> None:
    # The document is the first level, the array the second.
    for levels, fits in ((98, True), (99, False)):
        ops = {op: {"a": {"$each": [nested(levels)]} if many else nested(levels)}}
        if fits:
            assert compile_update(ops).apply({}) == {"a": [nested(levels)]}
        else:
            with pytest.raises(ValidationError, match="levels of nesting"):
                compile_update(ops)


def test_a_short_scalar_needs_no_walk_and_a_long_text_has_its_limit() -> None:
    assert compile_update({"$set": {"a": "x" * 5_000, "b": 2**200}}).apply({}) == {"a": "x" * 5_000, "b": 2**200}
    with pytest.raises(ValidationError, match="a document of at most 16,777,216 bytes"):
        compile_update({"$set": {"a": "x" * (16 * 1024 * 1024)}})
    with pytest.raises(ValidationError, match="lone surrogate"):
        compile_update({"$set": {"a": "\ud800"}})
