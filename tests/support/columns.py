"""Random documents as the column store must give them back, and an exact comparison."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st

T = TypeVar("T")

NAMES = ["a", "b", "c", "A", "$date", "$lit", "x.y", "", "é", "n" * 300]
TOP_NAMES = ["a", "b", "c", "A", "x.y", "é", "name", "$type", "createdBy", "deletedAt"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**40]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, math.inf, -math.inf, math.nan, 2.0**63]),
    st.sampled_from(["", "a", "b", "zz", "\0", "é", "\U0001f600", "\ud800", "2026-01-01", "x" * 100]),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.decimals(allow_nan=False, places=2, min_value=-100, max_value=100),
    st.sampled_from([Decimal("1.10"), Decimal("-0"), Decimal("1E+400"), Decimal("2.5"), Decimal("Infinity")]),
    st.binary(max_size=3),
    st.uuids(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(st.integers(-3, 3), max_size=3),
        st.lists(st.sampled_from(["a", "b"]), max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    ),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from(TOP_NAMES), values, max_size=5)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def document(body: dict[str, Any], number: int, namespace: str = "posts") -> dict[str, Any]:
    """Return a document as the engine stores it."""
    system = {"$id": f"{namespace}/{number:05d}", "version": 1, "createdAt": NOW, "updatedAt": NOW}
    return {**body, **system, "updatedAt": NOW + timedelta(seconds=number)}


def exactly(value: Any) -> Any:
    """Return a form in which 1, 1.0 and True differ, NaN equals itself and -0.0 is not 0.0, whatever the key order."""
    if type(value) is dict:
        return ("dict", tuple(sorted((name, exactly(item)) for name, item in value.items())))
    if type(value) is list:
        return ("list", tuple(map(exactly, value)))
    if type(value) is datetime:
        return ("datetime", value.isoformat(), value.tzinfo is UTC or value.utcoffset() == timedelta(0))
    if type(value) in {float, Decimal, date, UUID, bytes, int, str, bool, type(None)}:
        return (type(value).__name__, repr(value))
    raise AssertionError(f"unexpected {type(value)}")


async def run(work: Callable[[], T]) -> T:
    """Run CPU work here and now; the tests have one thread."""
    return work()


def all_exactly(documents: Sequence[dict[str, Any]]) -> list[Any]:
    return [exactly(one) for one in documents]
