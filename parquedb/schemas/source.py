"""From what a user writes to a `Schema`: one door for both notations, and the checks that both have to pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import SchemaError

from parquedb.documents.values import MANAGED_FIELDS, normalize
from parquedb.errors import ValidationError
from parquedb.schemas.checks import PYTHON_TYPES, Violation, compile_type
from parquedb.schemas.model import DEPTH_MAX, FIELDS_MAX, Field, FieldType, Schema
from parquedb.schemas.notation import parse_fields
from parquedb.schemas.words import describe

_KINDS: Final = frozenset({*PYTHON_TYPES, "json", "enum", "relation"})
_ENUM_TYPES: Final = frozenset({str, int, float, bool})
_COUNTS: Final = ("min_length", "max_length")
_BOUNDS: Final = ("ge", "gt", "le", "lt", "multiple_of")


def parse(source: Any) -> Schema:
    """Return the schema that a pydantic model class, a dict in compact notation or a `Schema` describes.

    Raises:
        ValidationError: it is none of these, or a field cannot be expressed; names the field and what was expected.
    """
    if isinstance(source, Schema):
        return checked(source)
    if isinstance(source, type) and issubclass(source, BaseModel):
        # Owners get schemas ready made, and this takes a thirtieth of the time in which they start.
        from parquedb.schemas.pydantic_models import fields_of_model, is_closed  # noqa: PLC0415

        return checked(Schema(fields_of_model(source), source.__name__, is_closed(source)))
    if not isinstance(source, Mapping):
        expected = "a pydantic model class or a dict of fields in compact notation"
        raise ValidationError(field="schema", expected=expected, actual=_named(source))
    declared = dict(source)
    name = declared.pop("$type", None)
    if name is not None and (type(name) is not str or not name):
        raise ValidationError(field="$type", expected="the name of the type", actual=repr(name))
    return checked(Schema(parse_fields(declared), name))


def checked(schema: Schema) -> Schema:
    """Return the schema, if its names, limits and defaults are in order; whoever made it.

    Raises:
        ValidationError: they are not; names the field.
    """
    if not schema.fields:
        raise ValidationError(field="schema", expected="at least one field", actual="none")
    for count, (path, field, depth) in enumerate(_walk(schema.root, "", 1)):
        if count >= FIELDS_MAX:
            raise ValidationError(field="schema", expected=f"at most {FIELDS_MAX} fields", actual="more")
        if depth > DEPTH_MAX:
            raise ValidationError(field=path, expected=f"at most {DEPTH_MAX} levels", actual="more")
        if field is not None:
            _check_field(path, field, top=depth == 1)
    return schema


def _walk(type_: FieldType, path: str, depth: int) -> Iterator[tuple[str, Field | None, int]]:
    """Yield path, field (None for items) and depth of everything below a type."""
    if depth > DEPTH_MAX:
        yield path, None, depth
        return
    names: set[str] = set()
    for field in type_.fields:
        below = f"{path}.{field.name}" if path else field.name
        if field.name in names:
            raise ValidationError(field=below, expected="each field once", actual="twice")
        names.add(field.name)
        yield below, field, depth
        yield from _walk(field.type, below, depth + 1)
    if type_.item is not None:
        _check_type(f"{path}[]", type_.item)
        yield from _walk(type_.item, f"{path}[]", depth + 1)


def _check_field(path: str, field: Field, *, top: bool) -> None:
    name = field.name
    if not name or "\0" in name or (top and (name in MANAGED_FIELDS or name.startswith("$"))):
        expected = "the name of a field of your own"
        if name.startswith("$"):
            expected += " ($type aside, which names the type)"
        raise ValidationError(field=path, expected=expected, actual=repr(name))
    if top and name == "name" and (field.type.kind not in {"string", "enum"} or _other_than_text(field.type)):
        raise ValidationError(field=path, expected="string, as in every document", actual=describe(field.type))
    _check_type(path, field.type)
    if field.default is None:
        return
    try:
        normalize({"default": field.default})
        check = compile_type(field.type, strict=False)
        if type(field.default) not in check.free:
            check.test(field.default)
    except Violation as violation:
        wrong = violation.error(path)
        raise ValidationError(
            f"the default of {path!r}: expected {wrong.expected}, got {wrong.actual}",
            field=path, expected=wrong.expected, actual=wrong.actual,
        ) from None  # fmt: skip
    except ValidationError as error:
        raise ValidationError(field=path, expected="a default that documents can hold", actual=str(error)) from error


def _other_than_text(type_: FieldType) -> bool:
    return any(type(value) is not str for value in type_.values)


def _check_type(path: str, type_: FieldType) -> None:
    """Check what a type says of itself; what its parts say is checked with them."""
    if type_.kind not in _KINDS:
        raise ValidationError(field=path, expected=f"one of {', '.join(sorted(_KINDS))}", actual=repr(type_.kind))
    for name in _COUNTS:
        count = getattr(type_, name)
        if count is not None and (type(count) is not int or count < 0):
            raise ValidationError(field=path, expected=f"a {name} of at least 0", actual=repr(count))
    if type_.kind == "enum":
        # Decimals and dates among them could not be told from each other in JSON; nobody has asked for them.
        odd = [value for value in type_.values if type(value) not in _ENUM_TYPES]
        if odd or not type_.values:
            raise ValidationError(field=path, expected="an enum of str, int, float or bool", actual=repr(odd)[:80])
    bounds = [name for name in _BOUNDS if getattr(type_, name) is not None]
    if bounds and type_.kind not in {"int", "float", "decimal", "date", "datetime"}:
        raise ValidationError(field=path, expected="no bounds for this type", actual=describe(type_))
    for name in bounds:
        bound = getattr(type_, name)
        if type(bound) not in PYTHON_TYPES[type_.kind] and not (type_.kind == "int" and type(bound) is float):
            raise ValidationError(field=path, expected=f"a {name} that is {type_.kind}", actual=_named(bound))
    if type_.multiple_of is not None and not type_.multiple_of > 0:
        raise ValidationError(field=path, expected="a multiple_of above 0", actual=str(type_.multiple_of))
    try:
        compile_type(type_, strict=False)
    except SchemaError as error:
        expected = "a pattern of the Rust regex language, which has no look-around and no back-references"
        raise ValidationError(field=path, expected=expected, actual=repr(type_.pattern), cause=error) from error


def _named(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
