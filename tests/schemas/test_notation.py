"""The compact notation: what it means, and what is said about what it does not."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from parquedb.errors import ValidationError
from parquedb.schemas import Field, FieldType, Relation, Schema, parse

WHOLE = {
    "email": "string!#",
    "name": "string!",
    "age": "int?",
    "role": "enum(admin,user) = 'user'",
    "tags": "string[]",
    "score": "float = 0",
    "posts": "<- Post.author[]",
    "author": "-> User.posts",
    "meta": "json",
    "created": "datetime",
    "home": {"city": "string!", "zip": "varchar(10)"},
}


def only(source):
    """Return the one field of a schema with this notation."""
    (field,) = parse({"f": source}).fields
    return field


def text(**changes):
    return FieldType("string", nullable=True, **changes)


def test_each_field_of_a_schema_is_read():
    city = Field("city", FieldType("string"), required=True)
    home = FieldType("object", nullable=True, fields=(city, Field("zip", text(max_length=10))))
    posts = FieldType("relation", nullable=True, relation=Relation("<-", "Post", "author", True))
    author = FieldType("relation", nullable=True, relation=Relation("->", "User", "posts", False))
    assert parse(WHOLE) == Schema(
        (
            Field("email", FieldType("string"), required=True, index="index"),
            Field("name", FieldType("string"), required=True),
            Field("age", FieldType("int", nullable=True)),
            Field("role", FieldType("enum", nullable=True, values=("admin", "user")), default="user"),
            Field("tags", FieldType("list", nullable=True, item=FieldType("string"))),
            Field("score", FieldType("float", nullable=True), default=0.0),
            Field("posts", posts),
            Field("author", author),
            Field("meta", FieldType("json", nullable=True)),
            Field("created", FieldType("datetime", nullable=True)),
            Field("home", home),
        )
    )


def test_a_schema_comes_back_from_its_wire_form():
    schema = parse({**WHOLE, "$type": "User", "n": "decimal(10,2) = 1.50", "flag": "bool = false", "k": "int = 0"})
    assert Schema.from_wire(schema.to_wire()) == schema
    assert schema.name == "User"
    defaults = {field.name: field.default for field in schema.fields if field.default is not None}
    assert defaults == {"role": "user", "score": 0.0, "n": Decimal("1.50"), "flag": False, "k": 0}


@pytest.mark.parametrize(
    ("notation", "kind", "more"),
    [
        ("text", "string", {}),
        ("markdown", "string", {}),
        ("char(3)", "string", {"min_length": 3, "max_length": 3}),
        ("email", "string", {"format": "email"}),
        ("url", "string", {"format": "url"}),
        ("number", "float", {}),
        ("double", "float", {}),
        ("decimal", "decimal", {}),
        ("decimal( 10 , 2 )", "decimal", {"precision": 10, "scale": 2}),
        ("boolean", "bool", {}),
        ("date", "date", {}),
        ("timestamp", "datetime", {}),
        ("uuid", "uuid", {}),
        ("binary", "bytes", {}),
        ("any", "json", {}),
        ("vector(2)", "list", {"item": FieldType("float"), "min_length": 2, "max_length": 2}),
        ("int[][]", "list", {"item": FieldType("list", item=FieldType("int"))}),
    ],
)
def test_a_type_is_read(notation, kind, more):
    assert only(notation).type == FieldType(kind, nullable=True, **more)


@pytest.mark.parametrize(
    ("notation", "required", "index"),
    [
        ("string", False, None),
        ("string?", False, None),
        ("string!", True, None),
        ("string!#", True, "index"),
        ("string#!", True, "index"),
        ("string##!", True, "unique"),
        ("string[]!", True, None),
        ("string#fts", False, "fts"),
        ("vector(3)#vec", False, "vector"),
        ("string#hash!", True, "hash"),
    ],
)
def test_modifiers_stand_in_any_order(notation, required, index):
    field = only(notation)
    assert (field.required, field.index, field.type.nullable) == (required, index, not required)


@pytest.mark.parametrize(
    ("notation", "default"),
    [
        ("string = x", "x"),
        ("string = 'a = b'", "a = b"),
        ("string = ''", ""),
        ("int = 3", 3),
        ("float = 3", 3.0),
        ("bool = true", True),
        ("decimal(5,2) = 1.50", Decimal("1.50")),
        ("date = 2026-01-02", date(2026, 1, 2)),
        ("datetime = '2026-01-02T03:04:05+01:00'", datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)),
        ("uuid = 00000000-0000-0000-0000-000000000001", UUID(int=1)),
        ("string[] = []", []),
        ('json = {"a": [1]}', {"a": [1]}),
        ("string = null", None),
    ],
)
def test_a_default_has_the_type_of_its_field(notation, default):
    assert only(notation).default == default
    assert type(only(notation).default) is type(default)


@pytest.mark.parametrize("arrow", ["->", "<-", "~>", "<~"])
def test_relationships_keep_arrow_target_reverse_and_number(arrow):
    assert only(f"{arrow} Post.author[]").type.relation == Relation(arrow, "Post", "author", True)
    assert only(f"{arrow}Post").type.relation == Relation(arrow, "Post", None, False)


def test_the_long_form_says_what_the_notation_has_no_signs_for():
    field = only(
        {"type": "string!", "minLength": 2, "maxLength": 5, "pattern": "^a", "index": "unique", "default": "ab"}
    )
    assert field == Field("f", FieldType("string", min_length=2, max_length=5, pattern="^a"), True, "ab", "unique")
    assert type(only({"type": "float", "default": 1}).default) is float
    assert only({"type": "int", "min": 0, "max": 9}).type == FieldType("int", nullable=True, ge=0, le=9)
    assert only({"type": "int", "enum": [1, 2]}).type == FieldType("enum", nullable=True, values=(1, 2))
    inner = FieldType("object", fields=(Field("type", text()),))
    assert only({"type": "object[]", "fields": {"type": "string"}}).type == FieldType("list", nullable=True, item=inner)


@pytest.mark.parametrize(
    ("source", "field", "said"),
    [
        ({"f": "strng"}, "f", "expected a type (string text"),
        ({"f": "strng"}, "f", "got 'strng'"),
        ({"f": "string!x"}, "f", "cannot read 'x', got 'string!x'"),
        ({"f": "string!?"}, "f", "either ! or ?, not both, got 'string!?'"),
        ({"f": "string###"}, "f", "one index modifier at most"),
        ({"f": "string ="}, "f", "a default after ="),
        ({"f": "int = x"}, "f", "a default that is int, got 'int = x'"),
        ({"f": "datetime = now"}, "f", "a default that is datetime"),
        ({"f": "enum(a,b) = c"}, "f", "the default of 'f': expected one of 'a', 'b'"),
        ({"f": "enum()"}, "f", "enum(a,b,...) with different values"),
        ({"f": "enum(a,a)"}, "f", "enum(a,b,...) with different values"),
        ({"f": "decimal(3)"}, "f", "decimal(p,s)"),
        ({"f": "decimal(2,3)"}, "f", "decimal(p,s)"),
        ({"f": "varchar(x)"}, "f", "varchar(n), got 'varchar(x)'"),
        ({"f": "int(3)"}, "f", "got 'int(3)'"),
        ({"f": "-> "}, "f", "a relationship: -> Type.field"),
        ({"f": "-> User posts"}, "f", "a relationship: -> Type.field"),
        ({"f": 5}, "f", "or a dict of fields, got 'int'"),
        ({"home": {"zip": "strng"}}, "home.zip", "got 'strng'"),
        ({"f": {"type": "int", "minLength": 3}}, "f.minLength", "a type that has it: bytes, list, string, got 'int'"),
        ({"f": {"type": "string", "city": "string"}}, "f", 'needs {"type": "object"'),
        ({"f": {"type": "int", "min": "low"}}, "f", "a ge that is int, got str"),
        ({"f": {"type": "string", "pattern": "(?=a)"}}, "f", "which has no look-around"),
        ({"version": "int"}, "version", "a field of your own"),
        ({"$options": {}}, "$options", "$type aside"),
        ({"name": "int"}, "name", "expected string, as in every document"),
        ({}, "schema", "at least one field, got none"),
        ("string", "schema", "a pydantic model class or a dict"),
        ({f"f{number}": "int" for number in range(1001)}, "schema", "at most 1000 fields"),
    ],
)
def test_a_mistake_is_shown_with_its_field_its_text_and_what_was_expected(source, field, said):
    with pytest.raises(ValidationError) as caught:
        parse(source)
    assert caught.value.field == field
    assert said in caught.value.message


def test_nesting_has_a_limit():
    source = "int"
    for _ in range(40):
        source = {"a": source}
    with pytest.raises(ValidationError, match="at most 32 levels"):
        parse({"f": source})
