"""Which schema may follow which, and that what may follow accepts what was accepted."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import ErrorCode, SchemaMismatchError, ValidationError
from parquedb.schemas import Guard, Mode, parse
from parquedb.schemas.evolution import mode_obstacles, obstacles
from parquedb.schemas.registered import VERSIONS_MAX, Registered


def between(old, new):
    return obstacles(parse({"f": old, "always": "int"}), parse({"f": new, "always": "int"}))


ALLOWED = [
    ("int!", "int"),
    ("int", "float"),
    ("int!", "float!"),
    ("int", "decimal"),
    ("int", "decimal(21,2)"),
    ("enum(a,b)", "enum(b,c,a)"),
    ("string[]", "string[]#"),
    ("int[]", "float[]"),
    ("string", "string = 'x'"),
    ("string = 'x'", "string"),
    ("varchar(3)", "varchar(4)"),
    ("varchar(3)", "string"),
    ("email", "string"),
    ("decimal(10,2)", "decimal(12,3)"),
    ("decimal(10,2)", "decimal"),
    ("-> User.posts", "-> User.posts[]"),
    ({"a": "int"}, {"a": "float", "b": "int"}),
    ({"a": "int"}, {"a": "int", "b": "int! = 1"}),
    ({"type": "int", "min": 3}, {"type": "int", "min": 2}),
    ({"type": "int", "min": 3}, {"type": "float", "min": 3}),
    ({"type": "string", "pattern": "a"}, "string"),
    ({"type": "object[]", "fields": {"a": "int!"}}, {"type": "object[]", "fields": {"a": "int"}}),
]
REFUSED = [
    ("float", "int", "f: float or null cannot become int or null"),
    ("int", "string", "f: int or null cannot become string or null"),
    ("int", "bool", "f: int or null cannot become bool or null"),
    ("date", "datetime", "f: date or null cannot become datetime or null"),
    ("int", "decimal(10,2)", "f: int or null cannot become decimal(10,2) or null"),
    ("int", "int[]", "f: int or null cannot become list of int or null"),
    ("string[]", "int[]", "f[]: string cannot become int"),
    ("enum(a,b)", "enum(a)", "f: 'b' cannot leave the enum"),
    ("string", "string! = 'x'", "f: null was accepted"),
    ("string", "string!", "f: documents without it were accepted"),
    ("string! = 'x'", "string!", "f: documents without it were accepted"),
    ("string", "varchar(3)", "a limit is new or tighter"),
    ("varchar(3)", "varchar(2)", "a limit is new or tighter"),
    ("string", "email", "a limit is new or tighter"),
    ("decimal(10,2)", "decimal(10,3)", "a limit is new or tighter"),
    ("decimal(10,2)", "decimal(10,1)", "a limit is new or tighter"),
    ("decimal", "decimal(10,1)", "a limit is new or tighter"),
    ("-> User.posts", "-> Author.posts", "keeps its direction and its target"),
    ("-> User.posts[]", "-> User.posts", "keeps its direction and its target"),
    ({"a": "int"}, {"b": "int"}, "f.a: a declared field cannot be removed"),
    ({"a": "int"}, {"a": "int", "b": "int!"}, "f.b: a new field must be optional or have a default"),
    ({"type": "int", "min": 3}, {"type": "int", "min": 4}, "f: int >= 3 or null cannot become int >= 4 or null"),
    ("string", {"type": "string", "pattern": "a"}, "a limit is new or tighter"),
]


@pytest.mark.parametrize(("old", "new"), ALLOWED)
def test_widening_is_allowed(old, new):
    assert between(old, new) == []


@pytest.mark.parametrize(("old", "new", "reason"), REFUSED)
def test_anything_else_is_refused_with_its_reason(old, new, reason):
    assert any(reason in found for found in between(old, new)), between(old, new)


def test_every_field_in_the_way_is_named_at_once():
    old, new = parse({"a": "int", "b": "string", "c": "int"}), parse({"a": "string", "c": "int", "d": "int!"})
    assert [reason.split(":")[0] for reason in obstacles(old, new)] == ["a", "b", "d"]


values = st.sampled_from(
    [
        *(None, 1, -5, 3.5, Decimal("1.25"), Decimal("123456.789"), "a", "abcd", "x@y.z", "u/1", True, [], [1], ["a"]),
        *([1.5], ["u/1"], {"a": 1}, {"a": 1.5}, {"b": "x"}, {}, [{"a": 1}], [{}]),
    ]
)
every = [*ALLOWED, *((old, new) for old, new, _ in REFUSED)]
notations = st.sampled_from([*(old for old, _ in every), *(new for _, new in every)])


@settings(max_examples=1_500, deadline=None)
@given(notations, notations, st.one_of(st.just({}), st.builds(lambda value: {"f": value}, values)))
def test_what_may_follow_accepts_every_document_that_was_accepted(old, new, document):
    if between(old, new):
        return
    try:
        Guard(parse({"f": old}), Mode.PERMISSIVE).check(document)
    except ValidationError:
        return
    after = Guard(parse({"f": new}), Mode.PERMISSIVE)
    # As the next update of the document does.
    after.fill(document, new=False)
    after.check(document)


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        (Mode.STRICT, Mode.PERMISSIVE, True),
        (Mode.PERMISSIVE, Mode.WARN, True),
        (Mode.STRICT, Mode.STRICT, True),
        (Mode.PERMISSIVE, Mode.STRICT, False),
        (Mode.WARN, Mode.PERMISSIVE, False),
    ],
)
def test_a_mode_may_only_become_looser_unchecked(old, new, allowed):
    assert (mode_obstacles(old, new) == []) is allowed
    registered = registered_with({"a": "int"}, old)
    assert registered.following(parse({"a": "int"}), new, 2, checked=True) is None or old is not new


def registered_with(source, mode=Mode.PERMISSIVE):
    first = Registered().following(parse(source), mode, 1, checked=False)
    assert first is not None
    return Registered().extended(first)


def test_versions_count_up_and_the_same_schema_makes_none():
    registered = registered_with({"a": "int"})
    assert registered.following(parse({"a": "int"}), Mode.PERMISSIVE, 5, checked=False) is None
    second = registered.following(parse({"a": "float"}), Mode.PERMISSIVE, 5, checked=False)
    assert (second.number, second.seq) == (2, 5)
    assert Registered.from_wire(registered.extended(second).to_wire()).versions == (*registered.versions, second)


def test_a_default_of_another_type_is_a_change():
    registered = registered_with({"a": "json = 1"})
    assert registered.following(parse({"a": "json = true"}), Mode.PERMISSIVE, 2, checked=False) is not None


def test_a_refusal_lists_the_reasons_and_survives_json():
    with pytest.raises(SchemaMismatchError) as caught:
        registered_with({"a": "int", "b": "int"}).following(parse({"a": "string"}), Mode.PERMISSIVE, 2, checked=False)
    error = type(caught.value).from_json(caught.value.to_json())
    assert error.code is ErrorCode.SCHEMA_MISMATCH
    assert error.version == 1
    assert list(error.reasons) == [
        "a: int or null cannot become string or null",
        "b: a declared field cannot be removed",
    ]
    assert error.message == "the schema cannot follow version 1: " + "; ".join(error.reasons)


def test_old_versions_are_forgotten_beyond_a_limit():
    registered = registered_with({"a": "int = 0"})
    for number in range(1, VERSIONS_MAX + 5):
        version = registered.following(parse({"a": f"int = {number}"}), Mode.PERMISSIVE, number + 1, checked=False)
        registered = registered.extended(version)
    assert len(registered.versions) == VERSIONS_MAX
    assert registered.number == VERSIONS_MAX + 5
