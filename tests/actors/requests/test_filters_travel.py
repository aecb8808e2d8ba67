"""Regular expressions in filters, from the caller to the owner."""

import re

import pytest

from parquedb.actors.requests import read_arguments
from parquedb.actors.requests.cursors import fingerprint
from parquedb.actors.requests.packing import decode_operations, encode_operations
from parquedb.documents.filters import compile_filter
from parquedb.documents.sorting import parse_sort
from parquedb.errors import ValidationError

QUERY = {"a": {"$in": [1, re.compile("é/b", re.IGNORECASE)]}, "b": {"$not": re.compile("^x")}}


def test_a_compiled_pattern_reaches_the_owner_as_it_was() -> None:
    operation = read_arguments.find("posts", QUERY)

    [arrived] = decode_operations(encode_operations([operation]))

    assert compile_filter(arrived.options["filter"]).filter == compile_filter(QUERY).filter
    assert compile_filter(arrived.options["filter"])({"a": "É/B", "b": 1})


def test_a_compiled_pattern_in_a_pipeline_reaches_the_owner_too() -> None:
    operation = read_arguments.aggregate("posts", [{"$match": QUERY}])

    [arrived] = decode_operations(encode_operations([operation]))

    [stage] = arrived.options["pipeline"]
    assert compile_filter(stage["$match"]).filter == compile_filter(QUERY).filter


def test_a_pattern_of_bytes_is_refused_before_it_travels() -> None:
    with pytest.raises(ValidationError, match="expected a pattern of str, got a pattern of bytes"):
        read_arguments.find("posts", {"a": re.compile(b"x")})


def test_queries_by_two_long_patterns_have_cursors_of_their_own() -> None:
    head = "x" * 300
    queries = [read_arguments.find("posts", {"a": re.compile(head + end)}).options["filter"] for end in "ab"]

    marks = {fingerprint(parse_sort(None), query, include_deleted=False) for query in queries}

    assert len(marks) == 2
