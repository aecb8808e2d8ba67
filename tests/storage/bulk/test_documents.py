"""Many dicts as columns: the very documents that normalizing each would give, or a word that something is unusual."""

from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.documents.values import MANAGED_FIELDS, normalize
from parquedb.errors import ValidationError
from parquedb.storage.bulk.documents import UnusualError, documents_as_rows, ids_of
from parquedb.storage.bulk.load_file import Plan, build
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.shred import unshred
from tests.support.columns import all_exactly, bodies

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PLAN = Plan("posts", NOON, "me", "$id", ColumnRegistry.empty())
MANAGED = frozenset(MANAGED_FIELDS)
SYSTEM = {"version": 1, "createdAt": NOON, "updatedAt": NOON, "createdBy": "me", "updatedBy": "me"}


def through_a_file(documents: list[dict[str, Any]], plan: Plan = PLAN) -> list[dict[str, Any]]:
    built = build("data/x", documents_as_rows(documents, plan, 7), plan)
    return unshred(pq.read_table(pa.BufferReader(built.data)))


def one_by_one(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ids = ids_of(documents, "posts", 7).to_pylist()
    return [normalize(one) | {"$id": f"posts/{id_}"} | SYSTEM for id_, one in zip(ids, documents, strict=True)]


zones = st.sampled_from([None, UTC, timezone(timedelta(hours=5)), ZoneInfo("Europe/Vienna"), ZoneInfo("UTC")])
times = st.datetimes(timezones=zones)
raw = st.one_of(
    times,
    st.tuples(st.integers(), times),
    st.lists(times, max_size=2),
    st.dictionaries(st.text(max_size=2), times, max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(bodies, st.dictionaries(st.sampled_from(["t", "u", "v"]), raw, max_size=3)), min_size=1, max_size=12
    )
)
def test_documents_come_back_as_if_each_had_been_normalized(documents: list[dict[str, Any]]) -> None:
    try:
        expected = [] if any(MANAGED.intersection(one) for one in documents) else one_by_one(documents)
    except ValidationError:
        expected = []
    if not expected:
        with pytest.raises(UnusualError):
            documents_as_rows(documents, PLAN, 7)
        return
    assert all_exactly(through_a_file(documents)) == all_exactly(expected)


def test_what_was_registered_before_binds_and_the_rest_stays_exact() -> None:
    registered = Plan(
        "posts", NOON, "me", "$id", ColumnRegistry.from_wire({"n": "float", "t": "str", "d": "decimal(9,2)"})
    )
    documents = [{"n": 1, "t": 5, "d": Decimal("1.5")}, {"n": 2.5, "t": "x", "d": Decimal("1.50")}, {"t": None}]
    assert all_exactly(through_a_file(documents, registered)) == all_exactly(one_by_one(documents))


def test_ids_may_be_bare_or_full_given_or_made() -> None:
    documents = [{"$id": "b"}, {"n": 1}, {"$id": "posts/a"}, {"n": 2}, {"$id": "abcdeé"}, {"$id": "posts/posts/é"}]
    rows = documents_as_rows(documents, PLAN, 7)
    ids = rows.ids.to_pylist()
    assert (ids[0], ids[2], *ids[4:]) == ("b", "a", "abcdeé", "posts/é")
    assert ids[1] < ids[3]
    assert not rows.sorted
    assert ids_of(documents, "posts", 7).to_pylist() == ids
    assert documents_as_rows([{"n": 1}, {"n": 2}], PLAN, 7).sorted


class Text(str):
    pass


class Kind(IntEnum):
    ONE = 1


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


UNUSUAL: dict[str, Any] = {
    "another mapping": OrderedDict(n=1),
    "a subclass of str": {"n": Text("x")},
    "an enum": {"n": Kind.ONE},
    "no value": {"n": object()},
    "a managed field": {"version": 1},
    "a field with a dollar": {"$n": 1},
    "an empty name": {"": 1},
    "a NUL in a name": {"n": {"a\0b": 1}},
    "a name that is no text": {"n": {1: 2}},
    "a name below of half a character": {"n": {"\ud800": 2}},
    "half a character": {"n": "\ud800"},
    "half a character in a list": {"n": ["a", "\ud800"]},
    "half a character far below": {"n": [{"a": "\ud800"}]},
    "a signalling NaN": {"n": Decimal("sNaN")},
    "a name that is a number": {"name": 1},
    "no name": {"name": None},
    "an id that is a number": {"$id": 1},
    "an empty id": {"$id": ""},
    "an id that is there": {"$id": "a"},
    "half an id": {"$id": "\ud800"},
    "a document of too many levels": {"n": deep(200)},
    "a large text": {"n": "x" * 2000},
    "many nulls": {"n": [None] * 400},
    "many fields": {"n": {f"f{number}": 1 for number in range(300)}},
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_what_may_have_to_be_refused_is_unusual(what: str) -> None:
    plan = Plan("posts", NOON, None, "$id", ColumnRegistry.empty(), bytes_max=1500)
    documents = [{"$id": "a", "n": 1}, UNUSUAL[what]]
    with pytest.raises(UnusualError):
        documents_as_rows(documents, plan, 7)


def test_a_value_that_contains_itself_ends_soon() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    wide: Any = [1]
    for _ in range(12):
        wide = [wide] * 10
    for value in (loop, wide):
        with pytest.raises(UnusualError):
            documents_as_rows([{"n": value}], PLAN, 7)
