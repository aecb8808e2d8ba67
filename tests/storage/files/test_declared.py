"""Declared columns: what a schema makes of the registry, and that no document loses anything by them."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.documents.filters import Compare, Predicate
from parquedb.schemas import parse
from parquedb.storage.files.column_stats import column_stats
from parquedb.storage.files.columns import (
    DEPTH_MAX,
    PATHS_MAX,
    ColumnRegistry,
    column_type,
    kind_of_type,
    with_declared,
)
from parquedb.storage.files.data_file import low_cardinality, write_table
from parquedb.storage.files.declared import declared_columns
from parquedb.storage.files.shred import one_chunk, shred, shred_with_leftovers, unshred
from parquedb.storage.query.pushdown import Facts, Rows, Verdict, masks, verdict
from tests.support.columns import all_exactly, bodies, document

KINDS = ["int", "float", "str", "bool", "time", "date", "bytes", "uuid", "decimal(5,2)", "decimal(38,0)", "list<float>"]
columns = st.recursive(
    st.sampled_from(KINDS),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "A", "x.y", "é"]), inner, min_size=1, max_size=3),
    max_leaves=5,
)


def declared(source, registry=None):
    return with_declared(registry or ColumnRegistry.empty(), declared_columns(parse(source)))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(bodies, min_size=1, max_size=6), min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["a", "b", "c", "A", "é"]), columns, max_size=4),
)
def test_every_document_comes_back_exactly_whatever_is_declared(batches, declarations):
    registry = ColumnRegistry.empty()
    for batch in batches:
        registry = with_declared(registry, declarations)
        assert ColumnRegistry.from_wire(registry.to_wire()) == registry
        rows = [(document(body, number), number) for number, body in enumerate(batch)]
        table, registry = shred(rows, registry)
        read = pq.read_table(pa.BufferReader(write_table(table, sorted_by_id=True)))
        assert all_exactly(unshred(read)) == all_exactly([one for one, _ in rows])


def test_each_type_has_its_column():
    source = {
        "s": "text",
        "i": "int",
        "f": "number",
        "d": "decimal(10,2)",
        "wide": "decimal(50,2)",
        "loose": "decimal",
        "e": "enum(a,b)",
        "n": {"type": "int", "enum": [1, 2]},
        "l": "datetime[]",
        "o": {"x": "uuid", "y": {"z": "bool"}},
        "m": "json",
        "r": "-> User.posts",
        "many": {"type": "object[]", "fields": {"a": "int"}},
    }
    found = dict(declared(source).to_wire())
    assert found == {
        "s": "str",
        "i": "int",
        "f": "float",
        "d": "decimal(10,2)",
        "e": "str",
        "n": "int",
        "l": "list<time>",
        "o": {"x": "uuid", "y": {"z": "bool"}},
    }
    assert column_type("decimal(10,2)") == pa.decimal128(10, 2)
    assert kind_of_type(pa.decimal128(10, 2)) == "decimal(10,2)"


def test_a_declaration_replaces_what_was_seen_and_keeps_its_neighbours():
    _, seen = shred([(document({"n": 1, "o": {"x": 1, "y": 2}, "z": 1}, 0), 1)], ColumnRegistry.empty())
    grown = declared({"n": "float", "o": {"x": "string"}, "z": {"a": "int"}}, seen)
    assert grown.to_wire() == {"n": "float", "o": {"x": "str", "y": "int"}, "z": {"a": "int"}}
    assert ColumnRegistry.from_wire(grown.to_wire()).paths == grown.paths
    assert declared({"n": "float"}, grown) is grown


def test_names_that_files_cannot_hold_get_no_column():
    registry = declared({"x.y": "int", "a": "int", "A": "int", "o": {"b": "int", "B": "int"}, "name": "string"})
    assert registry.to_wire() == {"a": "int", "o": {"b": "int"}, "name": "str"}


def test_declared_columns_keep_the_limits_of_the_registry():
    many = with_declared(ColumnRegistry.empty(), {f"f{number}": "int" for number in range(PATHS_MAX + 5)})
    assert many.paths == PATHS_MAX
    deep = "int"
    for _ in range(DEPTH_MAX + 3):
        deep = {"a": deep}
    assert with_declared(ColumnRegistry.empty(), {"a": deep}).to_wire() == {}


DECIMALS = [Decimal(text) for text in ("-999.99", "-0.01", "0.00", "0.01", "0.10", "1.50", "2.00", "999.99")]
ODD = [
    Decimal("1.5"),
    Decimal("0.015"),
    Decimal("-0.00"),
    Decimal("1E+400"),
    Decimal("Infinity"),
    2,
    10**400,
    0.1,
    None,
]
OPERANDS = [
    *DECIMALS,
    *ODD,
    Decimal("0.1"),
    Decimal("1E-400"),
    Decimal("-1E+999999"),
    float("-inf"),
    "x",
    True,
    1000,
    -1000,
]
ORDERS = ["eq", "ne", "gt", "gte", "lt", "lte"]


@pytest.mark.parametrize("odd", [[], ODD])
def test_each_comparison_with_a_decimal_column_says_what_the_predicate_says(odd):
    documents = [document({"a": value}, number) for number, value in enumerate([*DECIMALS, *odd])]
    documents.append(document({}, 99))
    table, _, paths = shred_with_leftovers([(one, 1) for one in documents], declared({"a": "decimal(5,2)"}))
    rows = Rows({name: one_chunk(table.column(name)) for name in table.column_names}, len(documents), paths)
    trees = [Compare(("a",), op, operand) for op in ORDERS for operand in OPERANDS]
    trees += [Compare(("a",), op, values) for op in ("in", "nin") for values in ([], DECIMALS, OPERANDS, [None, 2])]
    trees += [Compare(("a",), "exists", True), Compare(("a",), "exists", False)]
    for tree in trees:
        expected = np.array([Predicate(tree)(one) for one in documents])
        may, must = masks(tree, rows)
        assert not (expected & ~may).any(), tree
        assert not (must & ~expected).any(), tree
        assert odd or (may == must).all(), tree
        outcome = verdict(tree, Facts(column_stats(table), len(documents), paths))
        assert outcome is not Verdict.NONE or not expected.any()
        assert outcome is not Verdict.ALL or expected.all()


def test_a_decimal_column_can_have_a_dictionary():
    rows = [(document({"a": Decimal("1.50")}, number), 1) for number in range(20)]
    table, _ = shred(rows, declared({"a": "decimal(5,2)"}))
    assert "a" in low_cardinality(table)
    assert unshred(pq.read_table(pa.BufferReader(write_table(table, sorted_by_id=True))))[0]["a"] == Decimal("1.50")
