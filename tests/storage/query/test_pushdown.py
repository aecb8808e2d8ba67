"""Every comparison on every kind of column, against the predicate on the same documents."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from parquedb.documents.filters import Compare, Nor, Not, Predicate
from parquedb.storage.files.column_stats import column_stats
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.shred import one_chunk, shred, shred_with_leftovers, unshred
from parquedb.storage.query.pushdown import Facts, Rows, Verdict, masks, verdict
from tests.support.columns import document

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
TINY = timedelta(microseconds=1)
TODAY = date(2026, 1, 2)
COLUMNS = {
    "int": [-(2**63), -3, -1, 0, 1, 2, 3, 2**53, 2**53 + 1, 2**63 - 1],
    "float": [-math.inf, -1e308, -1.0, -0.0, 0.0, 5e-324, 0.1, 0.3, 2.5, 3.0, 2.0**53, 2.0**63, math.inf, math.nan],
    "str": ["", "\0", "a", "aa", "b", "é", "\ue000", "\U0001f600", "x" * 100],
    "bool": [False, True],
    "time": [NOW - TINY, NOW, NOW + TINY, datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
    "date": [TODAY, date(2026, 1, 3), date.min, date.max, date(1970, 1, 1)],
    "bytes": [b"", b"\0", b"a", b"\xff"],
    "uuid": [UUID(int=0), UUID(int=1), UUID(int=2**128 - 1)],
}
EXTRA = [None, 2**63, -(2**63) - 1, 10**400, -(10**400), 2.4, 2.6, 2**53 + 3, [], [1], {}, {"x": 1}, "\ud800", "x" * 64]
EXTRA += [Decimal(text) for text in ("2.5", "2.4", "-0", "0.1", "0.3", "3", "9007199254740993", "1E+400", "-1E+400")]
EXTRA += [Decimal("1E+999999"), Decimal("Infinity"), Decimal("-Infinity"), Decimal("1E-400")]
OPERANDS = [*EXTRA, *(value for values in COLUMNS.values() for value in values)]
ORDERS = ["eq", "ne", "gt", "gte", "lt", "lte"]


def column_of(kind, values):
    """Return documents with one value each (and one with none), their columns and their statistics."""
    documents = [document({"a": value}, number) for number, value in enumerate(values)]
    documents.append(document({}, len(values)))
    table, registry = shred([(one, 1) for one in documents], ColumnRegistry.empty())
    assert registry.columns["a"] == kind
    columns = {name: one_chunk(table.column(name)) for name in table.column_names}
    return unshred(table), Rows(columns, len(documents), frozenset()), column_stats(table)


def comparable(one, operand):
    # Ordering a NaN against a Decimal is the predicate's business alone; see its own tests.
    return not (type(operand) is Decimal and one.get("a") != one.get("a"))


def check(tree, documents, rows, stats, unpushable=False):
    expected = np.array([Predicate(tree)(one) for one in documents])
    may, must = masks(tree, rows)
    assert not (expected & ~may).any(), "a passing row was ruled out"
    assert not (must & ~expected).any(), "a refused row was let through"
    assert unpushable or (may == must).all(), "typed scalars leave no doubt"
    outcome = verdict(tree, Facts(stats, len(documents), rows.residual_paths))
    assert outcome is not Verdict.NONE or not expected.any()
    assert outcome is not Verdict.ALL or expected.all()


@pytest.mark.parametrize(("kind", "values"), [*COLUMNS.items(), ("float", COLUMNS["float"][:-1])])
def test_each_comparison_with_each_operand_says_what_the_predicate_says(kind, values):
    documents, rows, stats = column_of(kind, values)
    for operand in OPERANDS:
        if not all(comparable(one, operand) for one in documents):
            continue
        for op in ORDERS:
            doubtful = kind in {"bytes", "uuid"} or operand == "\ud800"
            tree = Compare(("a",), op, operand)
            check(tree, documents, rows, stats, unpushable=doubtful)
            check(Not(tree), documents, rows, stats, unpushable=doubtful)


@pytest.mark.parametrize("kind", COLUMNS)
def test_statistics_of_one_value_say_what_the_predicate_says(kind):
    decided = 0
    for value in COLUMNS[kind]:
        one = document({"a": value}, 0)
        table, _ = shred([(one, 1)], ColumnRegistry.empty())
        facts = Facts(column_stats(table), 1, frozenset())
        for operand in [*COLUMNS[kind], *EXTRA, *COLUMNS["float"]]:
            for op in ORDERS if comparable(one, operand) else ():
                tree = Compare(("a",), op, operand)
                outcome = verdict(tree, facts)
                assert outcome in {Verdict.SOME, Verdict.ALL if Predicate(tree)(one) else Verdict.NONE}
                decided += outcome is not Verdict.SOME
    assert decided > 100 or kind in {"bytes", "uuid"}  # These two have no bounds.


@pytest.mark.parametrize("kind", COLUMNS)
def test_membership_says_what_the_predicate_says(kind):
    documents, rows, stats = column_of(kind, COLUMNS[kind])
    own = COLUMNS[kind]
    for values in (
        [],
        [None],
        own[:1],
        own[:2],
        own,
        [*own[1:], None],
        OPERANDS,
        EXTRA,
        [0.0],
        [0, 1, 2, 3, 4, 5],
        [-0.0] * 6,
    ):
        for op in ("in", "nin"):
            check(Compare(("a",), op, list(values)), documents, rows, stats)


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("path", [("a",), ("a", "b"), ("b",), ("a", "0")])
def test_existence_and_paths_past_a_scalar_say_what_the_predicate_says(kind, path):
    documents, rows, stats = column_of(kind, COLUMNS[kind])
    for op, value in (("exists", True), ("exists", False), ("eq", None), ("ne", None), ("eq", 1), ("lte", None)):
        check(Compare(path, op, value), documents, rows, stats, unpushable=True)


def test_rows_with_a_part_in_the_residual_are_left_in_doubt_also_under_negation():
    values = [1, 2, 3, "text", None, 2.5, [1, "x"], {"b": 1}, 2**70]
    documents = [document({"a": value, "other": None}, number) for number, value in enumerate(values)]
    documents.append(document({}, len(values)))
    table, registry, residual_paths = shred_with_leftovers([(one, 1) for one in documents], ColumnRegistry.empty())
    assert (registry.columns["a"], residual_paths) == ("int", {"a", "other"})
    columns = {name: one_chunk(table.column(name)) for name in table.column_names}
    rows = Rows(columns, len(documents), residual_paths)
    doubtful = [False] * 3 + [True] * 6 + [False]
    for operand in (1, 2.5, "text", None, [1, "x"], {"b": 1}, 2**70):
        comparisons = [Compare(("a",), op, operand) for op in ORDERS]
        comparisons += [Compare(("a",), op, [operand, 3]) for op in ("in", "nin")]
        for tree in [*comparisons, Compare(("a",), "exists", True), Compare(("a", "b"), "ne", 1)]:
            for node in (tree, Not(tree), Nor((tree, Compare(("a",), "eq", 3)))):
                check(node, documents, rows, column_stats(table), unpushable=True)
                may, must = masks(node, rows)
                assert not must[doubtful].any()
                assert (may == must)[[not doubt for doubt in doubtful]].all()
