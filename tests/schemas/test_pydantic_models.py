"""Pydantic models as schemas: what is kept, what is refused, and that both accept the same documents."""

import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import annotated_types
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, create_model, field_validator
from pydantic import Field as Said

from parquedb.errors import ValidationError
from parquedb.schemas import Field, FieldType, Guard, Mode, Schema, parse
from parquedb.schemas.json_schema import to_json_schema


class Role(enum.Enum):
    ADMIN = "admin"
    USER = "user"


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str
    zip: str | None = None


class User(BaseModel):
    email: Annotated[str, Said(pattern="@", max_length=50)]
    age: int = Said(ge=0, le=150, description="in years")
    role: Role = Role.USER
    size: Literal["s", "m", None] = None
    home: Address | None = None
    others: list[Address] = []
    scores: dict[str, float] = Said(default_factory=dict)
    tags: list[Annotated[str, Said(min_length=1)]] = Said(default_factory=list, max_length=3)
    price: Decimal = Said(default=Decimal("1.50"), max_digits=10, decimal_places=2)
    born: date | None = None
    seen: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    key: UUID = Said(default_factory=uuid4)
    raw: bytes = b""
    extra: Any = None
    number: int | float = 0

    @field_validator("email")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()


def test_a_model_becomes_a_schema():
    schema = parse(User)
    fields = {field.name: field for field in schema.fields}
    address = FieldType(
        "object",
        closed=True,
        fields=(Field("city", FieldType("string"), required=True), Field("zip", FieldType("string", nullable=True))),
    )
    assert schema.name == "User"
    assert fields["email"] == Field("email", FieldType("string", pattern="@", max_length=50), required=True)
    assert fields["age"] == Field("age", FieldType("int", ge=0, le=150), required=True, description="in years")
    assert fields["role"] == Field("role", FieldType("enum", values=("admin", "user")), default="user")
    assert fields["size"] == Field("size", FieldType("enum", nullable=True, values=("s", "m")))
    assert fields["home"].type == FieldType("object", nullable=True, closed=True, fields=address.fields)
    assert fields["others"] == Field("others", FieldType("list", item=address), default=[])
    assert fields["scores"] == Field("scores", FieldType("map", item=FieldType("float")), default={})
    assert fields["tags"].type == FieldType("list", item=FieldType("string", min_length=1), max_length=3)
    assert fields["price"] == Field("price", FieldType("decimal", precision=10, scale=2), default=Decimal("1.50"))
    assert fields["seen"].default == datetime(2026, 1, 2, tzinfo=UTC)
    # The factory is code: the client's, who makes the instance.
    assert fields["key"] == Field("key", FieldType("uuid"))
    assert fields["extra"].type == FieldType("json", nullable=True)
    assert fields["number"] == Field("number", FieldType("float"), default=0.0)
    assert type(fields["number"].default) is float
    assert Schema.from_wire(schema.to_wire()) == schema


def test_a_dumped_instance_passes_and_its_defaults_are_filled_in():
    guard = Guard(parse(User), Mode.STRICT)
    dumped = User(email="A@b", age=3, home=Address(city="x")).model_dump()
    dumped["role"] = dumped["role"].value
    guard.check(dumped)
    document = {"email": "a@b", "age": 3}
    guard.fill(document, new=True)
    assert document["price"] == Decimal("1.50")
    assert document["role"] == "user"
    guard.check(document)


def test_a_model_that_forbids_other_fields_does_so_in_every_mode():
    guard = Guard(parse(Address), Mode.PERMISSIVE)
    with pytest.raises(ValidationError, match="'z': expected no field of this name"):
        guard.check({"city": "x", "z": 1})


class Node(BaseModel):
    below: "Node | None" = None


class Aliased(BaseModel):
    f: int = Said(alias="g")


class Configured(BaseModel):
    model_config = ConfigDict(str_max_length=3)
    f: str


class PythonRegex(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    f: str = Said(pattern="(?=a)")


class Root(pydantic.RootModel[list[int]]):
    pass


def model(annotation: Any, default: Any = ...) -> type[BaseModel]:
    made: type[BaseModel] = create_model("Made", f=(annotation, default))
    return made


@pytest.mark.parametrize(
    ("made", "field", "said"),
    [
        (model(int | str), "f", "one type besides None, got int | str"),
        (model(set[int]), "f", "got set"),
        (model(tuple[int, ...]), "f", "got tuple"),
        (model(timedelta), "f", "got timedelta"),
        (model(pydantic.AnyUrl), "f", "got AnyUrl"),
        (model(pydantic.PastDate), "f", "got PastDate"),
        (model(dict[int, str]), "f", "a dict with str as keys"),
        (model(list[complex]), "f[]", "got complex"),
        (model(Literal[b"a"]), "f", "an enum of str, int, float or bool"),
        (model(Annotated[int, annotated_types.Predicate(abs)]), "f", "limits that a schema can keep"),
        (Node, "below", "a model that does not contain itself, got Node"),
        (Aliased, "f", "a field without alias"),
        (Configured, "schema", "no str_max_length in model_config"),
        (PythonRegex, "schema", "regex_engine 'rust-regex'"),
        (Root, "schema", "a model with fields, got the root model Root"),
        (User(email="a@", age=1), "schema", "a pydantic model class or a dict"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(made, field, said):
    with pytest.raises(ValidationError) as caught:
        parse(made)
    assert caught.value.field == field
    assert said in caught.value.message


NOW = datetime(2026, 1, 2, tzinfo=UTC)
ANNOTATIONS = [
    str,
    int,
    float,
    bool,
    date,
    datetime,
    UUID,
    bytes,
    Any,
    str | None,
    Annotated[str, Said(min_length=1, max_length=2)],
    Annotated[str, Said(pattern="^a+$")],
    Annotated[int, Said(ge=-1, lt=2)],
    Annotated[int, Said(multiple_of=2)],
    Annotated[float, Said(gt=0.0, le=1.5)],
    Annotated[float, Said(allow_inf_nan=False)],
    Annotated[int | None, Said(gt=0)],
    Annotated[bytes, Said(max_length=1)],
    Literal["a", 1, True],
    Literal["a", None],
    list[int],
    list[str | None],
    list[list[bool]],
    Annotated[list[float], Said(min_length=1, max_length=2)],
    dict[str, int],
    dict[str, Any],
    Address,
    Address | None,
    list[Address],
]
DECIMALS = [Decimal, Annotated[Decimal, Said(max_digits=3, decimal_places=1)], Annotated[Decimal, Said(ge=0)]]
scalars = st.sampled_from(
    [
        *(None, True, False, -2, -1, 0, 1, 2, 3, -0.0, 0.5, 1.5, 1e300, float("inf"), float("nan")),
        *("", "a", "aa", "aab", "b", b"", b"a", b"ab", date(2026, 1, 2), NOW, UUID(int=1)),
    ]
)
decimals = st.sampled_from(["0", "-1", "1.5", "99.9", "100", "0.05", "1.50", "NaN", "1E+2", "9.90", "-0.0"]).map(
    Decimal
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.lists(st.lists(st.booleans(), max_size=2), max_size=2),
    st.dictionaries(st.sampled_from(["a", "b"]), scalars, max_size=2),
    st.fixed_dictionaries({"city": st.sampled_from(["x", 1])}, optional={"zip": scalars, "other": st.just(1)}),
    st.lists(st.fixed_dictionaries({}, optional={"city": st.just("x"), "zip": st.just(None)}), max_size=2),
)
NOTHING = object()


@st.composite
def fields(draw):
    """An annotation, whether it has a default, and a value for it."""
    if draw(st.integers(0, 5)) == 0:
        return (
            draw(st.sampled_from(DECIMALS)),
            draw(st.booleans()),
            draw(st.one_of(decimals, st.just(NOTHING), st.just("1"))),
        )
    return draw(st.sampled_from(ANNOTATIONS)), draw(st.booleans()), draw(st.one_of(values, st.just(NOTHING)))


@settings(max_examples=600, deadline=None)
@given(st.lists(fields(), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_the_model_and_its_schema_accept_the_same_documents(parts, forbid, unknown):
    # A default is checked when it is declared, so here it only makes the field optional: its factory is code.
    declared = {
        f"f{number}": (annotation, Said(default_factory=object) if optional else ...)
        for number, (annotation, optional, _) in enumerate(parts)
    }
    config = ConfigDict(extra="forbid" if forbid else "ignore")
    made = create_model("Made", __config__=config, **declared)
    document = {f"f{number}": value for number, (_, _, value) in enumerate(parts) if value is not NOTHING}
    document |= {"other": 1} if unknown else {}
    try:
        made.model_validate(document, strict=True)
        theirs = ""
    except pydantic.ValidationError as error:
        theirs = str(error)
    try:
        Guard(parse(made), Mode.PERMISSIVE).check(document)
        ours = ""
    except ValidationError as error:
        ours = error.message
    assert bool(theirs) == bool(ours), f"pydantic: {theirs or 'accepts'}; schema: {ours or 'accepts'}"


def test_the_json_schema_says_what_pydantic_says():
    ours, theirs = to_json_schema(parse(User)), User.model_json_schema()
    assert ours["required"] == theirs["required"]
    assert ours["properties"]["age"] == {"type": "integer", "minimum": 0, "maximum": 150, "description": "in years"}
    assert ours["properties"]["email"] == {"type": "string", "pattern": "@", "maxLength": 50}
    assert ours["properties"]["tags"]["maxItems"] == 3
    assert ours["title"] == "User"
