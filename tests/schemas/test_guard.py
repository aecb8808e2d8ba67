"""What a document must be, in each mode, and what a refusal says."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from parquedb.errors import ErrorCode, ValidationError
from parquedb.schemas import Guard, Mode, Schema, parse

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SYSTEM = {"$id": "users/a", "$type": "User", "name": "n", "version": 1, "createdAt": NOW, "updatedBy": "eve"}


def guard(source, mode=Mode.PERMISSIVE):
    return Guard(Schema.from_wire(parse(source).to_wire()), mode)


def refused(source, document, mode=Mode.PERMISSIVE):
    with pytest.raises(ValidationError) as caught:
        guard(source, mode).check(document)
    return caught.value


VALUES = {
    "string": "a",
    "int": 1,
    "float": 1.5,
    "bool": True,
    "date": date(2026, 1, 2),
    "datetime": NOW,
    "uuid": UUID(int=1),
    "bytes": b"a",
    "decimal": Decimal("1.5"),
    "string[]": ["a"],
    "object": {"a": 1},
}


@pytest.mark.parametrize("notation", VALUES)
@pytest.mark.parametrize("other", VALUES)
def test_a_value_passes_where_its_own_type_is_declared(notation, other):
    value = VALUES[other]
    if notation == other or (other == "int" and notation in {"float", "decimal"}):
        guard({"f": f"{notation}!"}).check({"f": value})
    else:
        error = refused({"f": f"{notation}!"}, {"f": value})
        names = {"string[]": "list", "object": "dict", "string": "str", "uuid": "uuid.UUID"}
        assert error.code is ErrorCode.INVALID_TYPE
        assert error.actual.split(".")[-1].lower() == names.get(other, other).split(".")[-1].lower()


def test_a_required_field_must_be_there_and_not_null():
    missing, null = refused({"f": "int!"}, {}), refused({"f": "int!"}, {"f": None})
    assert (missing.field, missing.expected, missing.actual) == ("f", "int", "nothing")
    assert (missing.code, null.actual) == (ErrorCode.REQUIRED_FIELD, "null")
    guard({"f": "int"}).check({})
    guard({"f": "int"}).check({"f": None})


@pytest.mark.parametrize(
    ("source", "document", "field", "expected", "actual"),
    [
        ({"a": {"b": "int"}}, {"a": {"b": "x"}}, "a.b", "int or null", "str"),
        ({"a": "int[]"}, {"a": [1, 2, "x"]}, "a[2]", "int", "str"),
        ({"a": "int[][]"}, {"a": [[1], [None]]}, "a[1][0]", "int", "null"),
        ({"a": {"type": "object[]", "fields": {"b": "int!"}}}, {"a": [{"b": 1}, {}]}, "a[1].b", "int", "nothing"),
        ({"a": "enum(x,y)!"}, {"a": "z"}, "a", "one of 'x', 'y'", "another value"),
        ({"a": {"type": "int!", "min": 3}}, {"a": 2}, "a", "int >= 3", "2"),
        ({"a": "varchar(2)!"}, {"a": "xyz"}, "a", "string of at most 2 characters", "3 characters"),
        ({"a": "vector(2)!"}, {"a": [1.0]}, "a", "list of float of 2 items", "1 items"),
        ({"a": "decimal(4,2)!"}, {"a": Decimal("1.234")}, "a", "decimal(4,2)", "1.234"),
        ({"a": "decimal(4,2)!"}, {"a": Decimal(100)}, "a", "decimal(4,2)", "100"),
        ({"a": "decimal(4,2)!"}, {"a": 10**5000}, "a", "decimal(4,2)", "an int of more digits"),
        ({"a": "decimal!"}, {"a": Decimal("NaN")}, "a", "decimal", "NaN"),
        ({"a": "email!"}, {"a": "nobody"}, "a", "email address", "another string"),
        ({"a": "url!"}, {"a": "nowhere"}, "a", "URL", "another string"),
        ({"a": {"type": "string!", "pattern": "^a"}}, {"a": "b"}, "a", "string matching '^a'", "another string"),
        ({"a": "-> User.posts"}, {"a": ["u/1"]}, "a", "the id of a document or null", "list"),
        ({"a": "-> User.posts[]"}, {"a": ["u/1", 2]}, "a[1]", "the id of a document", "int"),
        ({"a": "-> User.posts"}, {"a": {"Eve": 3}}, "a.Eve", "the id of a document", "int"),
    ],
)
def test_a_refusal_names_field_expected_and_actual(source, document, field, expected, actual):
    error = refused(source, document)
    assert (error.field, error.expected, error.actual) == (field, expected, actual)
    assert error.message == f"invalid value of {field!r}: expected {expected}, got {actual}"


@pytest.mark.parametrize(
    ("notation", "good"),
    [
        ("email", ["a@b.c", "a.b+c@d-e.org"]),
        ("url", ["https://x", "s3+v4://b/k?q=1"]),
        ("-> User.posts", ["users/1", {"Eve": "users/1"}]),
        ("-> User.posts[]", [["users/1"], {"Eve": "users/1"}, "users/1"]),
        ("decimal(4,2)", [Decimal("12.34"), Decimal("-12.3400"), Decimal("0.01"), 99, Decimal("1E+1")]),
        ("json", [None, 1, "a", [1, {"b": None}]]),
    ],
)
def test_good_values_pass(notation, good):
    for value in good:
        guard({"f": notation}).check({"f": value})


@pytest.mark.parametrize("bad", ["a@b", "@b.c", "a b@c.d", "a@b.", "a@@b.c", "a@b.c" + "x" * 320])
def test_what_is_no_email_address_is_refused(bad):
    assert refused({"f": "email"}, {"f": bad}).code is ErrorCode.INVALID_FORMAT


def test_strict_refuses_unknown_fields_at_every_level_but_those_of_the_system():
    source = {"a": {"b": "int"}, "c": {"type": "object[]", "fields": {"d": "int"}}}
    strict = guard(source, Mode.STRICT)
    strict.check({**SYSTEM, "a": {"b": 1}, "c": [{"d": 1}]})
    for document, field in [
        ({"z": 1}, "z"),
        ({"a": {"z": 1}}, "a.z"),
        ({"c": [{}, {"z": 1}]}, "c[1].z"),
    ]:
        error = refused(source, document, Mode.STRICT)
        assert (error.field, error.expected, error.actual) == (field, "no field of this name", "int")
        guard(source).check(document)


def test_defaults_fill_what_a_new_document_lacks_at_every_level():
    source = {
        "a": "int = 1",
        "b": {"c": "int = 2"},
        "d": {"type": "object[]", "fields": {"e": "int = 3"}},
        "l": "int[] = []",
    }
    given = {"b": {"x": 0}, "d": [{}, {"e": 4}]}
    document = dict(given)
    assert guard(source).fill(document, new=True)
    assert document == {"a": 1, "b": {"c": 2, "x": 0}, "d": [{"e": 3}, {"e": 4}], "l": []}
    assert given == {"b": {"x": 0}, "d": [{}, {"e": 4}]}
    other = {}
    guard(source).fill(other, new=True)
    assert other == {"a": 1, "l": []}
    assert not guard(source).fill(document, new=True)


def test_a_default_is_never_shared_between_documents():
    made = guard({"l": "int[] = []"})
    one, other = {}, {}
    made.fill(one, new=True)
    made.fill(other, new=True)
    one["l"].append(1)
    assert other == {"l": []}


def test_a_null_that_was_given_is_not_replaced():
    document = {"a": None}
    assert not guard({"a": "int = 1"}).fill(document, new=True)
    assert document == {"a": None}


def test_an_update_fills_only_required_fields():
    document = {}
    guard({"a": "int = 1", "b": "int! = 2"}).fill(document, new=False)
    assert document == {"b": 2}
