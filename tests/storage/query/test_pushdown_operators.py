"""Every operator on columns of every kind, against the predicate: what may pass, what must, and what statistics say.

`PARQUEDB_DIFFERENTIAL_EXAMPLES` sets the number of random examples.
"""

import itertools
import math
import os
import re
from datetime import UTC, date, datetime
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.documents.filters import Compare, Not, Predicate, compile_filter
from parquedb.documents.regex import Regex
from parquedb.errors import InvalidFilterError
from parquedb.storage.files.column_stats import column_stats
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.shred import one_chunk, shred_with_leftovers, unshred
from parquedb.storage.query.pushdown import Facts, Rows, Verdict, masks, verdict
from tests.support.columns import TOP_NAMES, bodies, document, values
from tests.support.filters import conditions

EXAMPLES = int(os.environ.get("PARQUEDB_DIFFERENTIAL_EXAMPLES", "600"))
NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEXTS = ["", "a", "ab", "Abc", "aab", "b", "é", "éa", "\ud7ff", "\ue000", "\U0010ffff", "a\nb", "x" * 100, "x.x", "\0"]
COLUMNS = {
    "int": [-(2**63), -(2**31) - 1, -(2**31), -5, -4, -1, 0, 1, 4, 5, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1],
    "float": [-math.inf, -(2.0**63), -5.5, -4.0, -0.0, 0.5, 4.0, 5.9, 2.0**53, 2.0**63, math.inf, math.nan],
    "str": TEXTS,
    "bool": [False, True],
    "time": [NOW],
    "date": [date(2026, 1, 2)],
    "bytes": [b"", b"a"],
    "uuid": [UUID(int=1)],
}
MODS = [(2, 0), (4, 1), (4, -1), (-4, 1), (1, 0), (2**63 - 1, 0), (-(2**63), -1), (3, 5)]
PATTERNS = ["^a", "^ab*", "b$", "^$", "é", ".", "^x{50}", "(a|b)+b", r"^\x{d7ff}", "\\x00", "^\U0010ffff"]
NAMES = ["double", "string", "bool", "date", "day", "binData", "uuid", "int", "long", "array", "null"]
OPERATORS = [
    *(("mod", pair) for pair in MODS),
    *(("regex", Regex(pattern, options)) for pattern in PATTERNS for options in ("", "i", "s", "m")),
    *((op, text) for op in ("startsWith", "endsWith", "contains") for text in (*TEXTS, "\ud800", "x" * 64, "x" * 65)),
    *(("size", size) for size in (0, 1, 2)),
    *(("type", frozenset({name})) for name in NAMES),
    *(("type", frozenset(names)) for names in (("int", "long"), ("long", "string"), ("decimal", "double"))),
]


def stored(documents, before=()):
    """Return documents as they come back, their columns and their statistics; `before` made columns already."""
    _, registry, _ = shred_with_leftovers([(one, 1) for one in before], ColumnRegistry.empty())
    table, _, residual_paths = shred_with_leftovers([(one, 2) for one in documents], registry)
    columns = {name: one_chunk(table.column(name)) for name in table.column_names}
    return unshred(table), Rows(columns, len(documents), residual_paths), column_stats(table)


def check(tree, documents, rows, stats):
    expected = np.array([Predicate(tree)(one) for one in documents])
    may, must = masks(tree, rows)
    assert not (expected & ~may).any(), "a passing row was ruled out"
    assert not (must & ~expected).any(), "a refused row was let through"
    outcome = verdict(tree, Facts(stats, len(documents), rows.residual_paths))
    assert outcome is not Verdict.NONE or not expected.any()
    assert outcome is not Verdict.ALL or expected.all()
    return may, must, outcome


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("listed", [False, True], ids=["scalar", "list"])
def test_each_operator_says_what_the_predicate_says(kind, listed):
    own = COLUMNS[kind]
    fields = [[], *([value] for value in own), own, [own[0], own[-1]]] if listed else own
    documents, rows, stats = stored([document({"a": value}, 0) for value in fields] + [document({}, 1)])
    assert pa.types.is_list(rows.columns["a"].type) is listed
    for op, operand in OPERATORS:
        tree = Compare(("a",), op, operand)
        for one in (tree, Not(tree)):
            may, must, _ = check(one, documents, rows, stats)
            vague = op == "regex" and operand.program_size() > 300
            assert vague or operand == (-(2**63), -1) or (may == must).all(), "a typed column leaves no doubt"


@pytest.mark.parametrize("kind", COLUMNS)
def test_statistics_of_one_or_two_values_say_what_the_predicate_says(kind):
    decided = 0
    for pair in itertools.combinations_with_replacement(COLUMNS[kind], 2):
        documents, rows, stats = stored([document({"a": value}, 0) for value in pair])
        for op, operand in OPERATORS:
            _, _, outcome = check(Compare(("a",), op, operand), documents, rows, stats)
            decided += outcome is not Verdict.SOME
    assert decided or kind in {"bytes", "uuid"}  # These two have no bounds.


@pytest.mark.parametrize(
    ("query", "low", "high", "outcome"),
    [
        ({"a": {"$startsWith": "b"}}, "ba", "bz", Verdict.ALL),
        ({"a": {"$startsWith": "b"}}, "aa", "bz", Verdict.SOME),
        ({"a": {"$startsWith": "b"}}, "c", "d", Verdict.NONE),
        ({"a": {"$startsWith": "b"}}, "a", "az", Verdict.NONE),
        ({"a": {"$startsWith": ""}}, "a", "b", Verdict.ALL),
        ({"a": {"$regex": "^b"}}, "ba", "bz", Verdict.SOME),
        ({"a": {"$regex": "^b"}}, "c", "d", Verdict.NONE),
        ({"a": re.compile("^b.*c|d")}, "e", "f", Verdict.SOME),
        ({"a": {"$not": {"$regex": "^b"}}}, "c", "d", Verdict.ALL),
        ({"a": {"$contains": "b"}}, "c", "d", Verdict.SOME),
        ({"a": {"$size": 1}}, "c", "d", Verdict.NONE),
        ({"a": {"$mod": [2, 1]}}, "c", "d", Verdict.NONE),
        ({"a": {"$elemMatch": {"$eq": "c"}}}, "c", "d", Verdict.NONE),
        ({"a": {"$type": "string"}}, "c", "d", Verdict.ALL),
        ({"a": {"$type": "number"}}, "c", "d", Verdict.NONE),
        ({"a": {"$type": "int"}}, 1, 2**31 - 1, Verdict.ALL),
        ({"a": {"$type": "int"}}, 2**31, 2**40, Verdict.NONE),
        ({"a": {"$regex": "x"}}, 1, 2, Verdict.NONE),
        ({"a": {"$mod": [2, 1]}}, 1, 2, Verdict.SOME),
        ({"a": {"$all": []}}, 1, 2, Verdict.NONE),
    ],
)
def test_files_are_skipped_by_statistics(query, low, high, outcome):
    _, rows, stats = stored([document({"a": low}, 0), document({"a": high}, 1)])
    assert verdict(compile_filter(query).filter, Facts(stats, 2, rows.residual_paths)) is outcome


def test_conditions_on_lists_are_answered_by_columns():
    fields = [["a", "b"], ["b"], [], ["ab", "c"], None, "a", ["a", 1]]
    documents, rows, stats = stored([document({"a": value}, 0) for value in fields])
    doubtful = [False] * 4 + [True] * 3
    for query in (
        {"a": "b"},
        {"a": {"$ne": "b"}},
        {"a": {"$in": ["a", "c"]}},
        {"a": {"$gt": "b"}},
        {"a": {"$startsWith": "a"}},
        {"a": {"$all": ["a", "b"]}},
        {"a": {"$size": 1}},
        {"a": {"$type": "array"}},
        {"a": {"$elemMatch": {"$gt": "a", "$lt": "b"}}},
        {"a": {"$elemMatch": {"$not": {"$in": ["a", "b"]}}}},
        {"a": {"$elemMatch": {"b": 1}}},
    ):
        may, must, _ = check(compile_filter(query).filter, documents, rows, stats)
        assert ((may == must) == ~np.array(doubtful)).all(), query


def test_elements_in_doubt_leave_their_lists_in_doubt():
    documents, rows, stats = stored([document({"a": value}, 0) for value in ([b"a"], [b"c", b"a"], [], [b"b"])])
    for part in ({"$gt": b"b"}, {"$not": {"$gt": b"b"}}, {"$gte": b"b", "$ne": b"b"}):
        for query in ({"a": {"$elemMatch": part}}, {"a": {"$not": {"$elemMatch": part}}}):
            may, must, _ = check(compile_filter(query).filter, documents, rows, stats)
            assert (may != must).any()


def test_a_slice_of_a_list_column_is_asked_by_its_own_rows():
    _, rows, _ = stored([document({"a": [number, number + 1]}, number) for number in range(6)])
    part = Rows({"a": rows.columns["a"].slice(2, 3)}, 3, frozenset())

    may, must = masks(compile_filter({"a": 4}).filter, part)

    assert must.tolist() == may.tolist() == [False, True, True]


def test_a_dictionary_column_is_asked_entry_by_entry():
    _, rows, _ = stored([document({"a": text}, 0) for text in ("aa", "b", "ab", "aa")] + [document({}, 1)])
    encoded = Rows({"a": rows.columns["a"].dictionary_encode()}, 5, frozenset())

    may, must = masks(compile_filter({"a": {"$regex": "^a"}}).filter, encoded)

    assert must.tolist() == may.tolist() == [True, False, True, True, False]


def places(value, path=()):
    """Yield every value inside a document with the path that leads to it, and what the path means past a list."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        below = (*path, str(step))
        if all(name and "." not in name and name.isprintable() for name in below):
            yield below, child
            yield from places(child, below)


@st.composite
def questions(draw):
    before = draw(st.lists(bodies, max_size=3))
    now = draw(st.lists(bodies, min_size=1, max_size=4))
    found = [place for body in now for place in places(body)]
    hits = st.sampled_from(found) if found else st.tuples(st.sampled_from([("a",), ("b", "0")]), values)
    pairs = st.one_of(hits, hits, st.tuples(st.sampled_from(TOP_NAMES).map(lambda name: (name,)), values))
    single = pairs.flatmap(lambda pair: conditions(pair[1], values).map(lambda one: {".".join(pair[0]): one}))
    logical = st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(single, min_size=1, max_size=3))
    return before, now, draw(single | logical.map(lambda drawn: {drawn[0]: drawn[1]}))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(questions())
def test_any_filter_over_any_documents_leaves_out_nothing_and_lets_nothing_through(question):
    before, now, query = question
    try:
        tree = compile_filter(query).filter
    except InvalidFilterError:
        return
    documents, rows, stats = stored(
        [document(body, number) for number, body in enumerate(now)],
        [document(body, number) for number, body in enumerate(before)],
    )
    check(tree, documents, rows, stats)
