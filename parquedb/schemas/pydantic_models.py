"""Pydantic model classes as schemas.

What can be said in plain data is kept: core types, nested models, defaults, limits, patterns. Code cannot be stored:
validators, serializers and default factories (but `list` and `dict`) run where a model instance is made, in the client,
and the field is then held to its type alone. Everything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NoReturn, Union, get_args, get_origin
from uuid import UUID

import annotated_types
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    EmailStr,
    PlainSerializer,
    PlainValidator,
    RootModel,
    Strict,
    StringConstraints,
    WrapSerializer,
    WrapValidator,
)
from pydantic.fields import FieldInfo

from parquedb.errors import ValidationError
from parquedb.schemas.model import DEPTH_MAX, Field, FieldType

_SCALARS: Final[Mapping[Any, FieldType]] = {
    str: FieldType("string"),
    int: FieldType("int"),
    float: FieldType("float"),
    bool: FieldType("bool"),
    date: FieldType("date"),
    datetime: FieldType("datetime"),
    AwareDatetime: FieldType("datetime"),
    Decimal: FieldType("decimal"),
    UUID: FieldType("uuid"),
    bytes: FieldType("bytes"),
    EmailStr: FieldType("string", format="email"),
    Any: FieldType("json", nullable=True),
    list: FieldType("list", item=FieldType("json", nullable=True)),
    dict: FieldType("map", item=FieldType("json", nullable=True)),
}
_SUPPORTED: Final = (
    "str, int, float, bool, date, datetime, Decimal, UUID, bytes, Any, list[...], dict[str, ...], Literal, an Enum of "
    "plain values, a nested model, or Optional of these"
)
_CODE: Final = (
    BeforeValidator, AfterValidator, WrapValidator, PlainValidator, PlainSerializer, WrapSerializer, Strict,
)  # fmt: skip
_BOUNDS: Final = ((annotated_types.Ge, "ge"), (annotated_types.Gt, "gt"), (annotated_types.Le, "le"),
                  (annotated_types.Lt, "lt"), (annotated_types.MultipleOf, "multiple_of"),
                  (annotated_types.MinLen, "min_length"), (annotated_types.MaxLen, "max_length"))  # fmt: skip
# What pydantic keeps without a public class, and what becomes of it; None: done to a value before it gets here.
_GENERAL: Final[Mapping[str, str | None]] = {
    "pattern": "pattern",
    "max_digits": "precision",
    "decimal_places": "scale",
    "allow_inf_nan": "finite",
    "strict": None,
    "strip_whitespace": None,
    "to_lower": None,
    "to_upper": None,
}
_LIMITS: Final = "min_length, max_length, ge, gt, le, lt, multiple_of, pattern, max_digits, decimal_places"
_REFUSED_CONFIG: Final = ("str_min_length", "str_max_length", "alias_generator")


def is_closed(model: type[BaseModel]) -> bool:
    """Whether a model forbids fields that it does not declare."""
    return model.model_config.get("extra") == "forbid"


def fields_of_model(model: type[BaseModel], path: str = "", above: tuple[type, ...] = ()) -> tuple[Field, ...]:
    """Return the fields of a model class.

    Args:
        model: The class.
        path: Dotted path of the object it describes, for messages.
        above: The models that contain it.

    Raises:
        ValidationError: a field has a type or a limit that cannot be expressed; names both.
    """
    if issubclass(model, RootModel):
        _refuse(path or "schema", "a model with fields", f"the root model {model.__name__}")
    if model in above or len(above) > DEPTH_MAX:
        _refuse(path or "schema", "a model that does not contain itself", model.__name__)
    for name in _REFUSED_CONFIG:
        if model.model_config.get(name):
            _refuse(path or "schema", f"no {name} in model_config; set it on the fields", model.__name__)
    if model.model_config.get("regex_engine") == "python-re":
        _refuse(path or "schema", "regex_engine 'rust-regex', which takes time in proportion", "python-re")
    return tuple(
        _field(name, info, f"{path}.{name}" if path else name, (*above, model))
        for name, info in model.model_fields.items()
    )


def _field(name: str, info: FieldInfo, path: str, above: tuple[type, ...]) -> Field:
    if any(alias not in {None, name} for alias in (info.alias, info.validation_alias, info.serialization_alias)):
        _refuse(path, "a field without alias: a document's field has one name", str(info.alias))
    type_ = _limited(_type(info.annotation, path, above), info.metadata, path)
    default = _default(info, path)
    # As a float, which its column holds exactly; an instance would have it as an int until it is validated.
    default = float(default) if type_.kind == "float" and type(default) is int else default
    return Field(name, type_, info.is_required(), default, description=info.description)


def _default(info: FieldInfo, path: str) -> Any:
    if info.is_required():
        return None
    if info.default_factory is not None:
        # Any other factory is code.
        return info.default_factory() if info.default_factory in {list, dict} else None
    return _plain(info.default, path)


def _plain(value: Any, path: str) -> Any:
    """Return a default as a document holds it."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Enum):
        return _plain(value.value, path)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, dict):
        return {key: _plain(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, path) for item in value]
    return value


def _type(annotation: Any, path: str, above: tuple[type, ...]) -> FieldType:  # noqa: PLR0911 - one return per form
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _limited(_type(arguments[0], path, above), arguments[1:], path)
    if origin in {Union, UnionType}:
        return _union(annotation, arguments, path, above)
    if origin is Literal:
        return _enum(arguments, path)
    if origin is list:
        return FieldType("list", item=_type(arguments[0], f"{path}[]", above))
    if origin is dict:
        if arguments[0] is not str:
            _refuse(path, "a dict with str as keys", repr(annotation))
        return FieldType("map", item=_type(arguments[1], f"{path}[]", above))
    try:
        scalar = _SCALARS.get(annotation)
    except TypeError:
        scalar = None
    if scalar is not None:
        return scalar
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return FieldType("object", fields=fields_of_model(annotation, path, above), closed=is_closed(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _enum([member.value for member in annotation], path)
    return _refuse(path, _SUPPORTED, getattr(annotation, "__name__", None) or repr(annotation))


def _union(annotation: Any, arguments: tuple[Any, ...], path: str, above: tuple[type, ...]) -> FieldType:
    others = [argument for argument in arguments if argument is not NoneType]
    if set(others) == {int, float}:
        others = [float]  # A float field accepts ints as they are.
    if len(others) != 1:
        _refuse(path, f"{_SUPPORTED}; one type besides None", str(annotation))
    inner = _type(others[0], path, above)
    return replace(inner, nullable=inner.nullable or NoneType in arguments)


def _enum(values: Any, path: str) -> FieldType:
    plain = [value.value if isinstance(value, Enum) else value for value in values]
    present = tuple(value for value in plain if value is not None)
    if not present:
        _refuse(path, "an enum with a value", "none")
    return FieldType("enum", values=present, nullable=len(present) < len(plain))


def _limited(type_: FieldType, metadata: Any, path: str) -> FieldType:
    """Return the type with the limits that the metadata of its annotation sets."""
    found: dict[str, Any] = {}
    for one in metadata:
        if isinstance(one, FieldInfo):
            type_ = _limited(type_, one.metadata, path)
        elif isinstance(one, StringConstraints):
            if getattr(one, "ascii_only", None):
                _refuse(path, "limits that a schema can keep", "ascii_only")
            type_ = _limited(type_, list(one), path)
        elif not isinstance(one, _CODE):
            found |= _limit(one, path)
    for name in ("min_length", "max_length"):
        if name in found and type_.kind not in {"string", "bytes", "list", "map"}:
            _refuse(path, f"no {name} for this type", type_.kind)
    for name, kind in (("pattern", "string"), ("precision", "decimal"), ("scale", "decimal")):
        if name in found and type_.kind != kind:
            _refuse(path, f"no {name} for this type", type_.kind)
    if type_.kind != "float":
        found.pop("finite", None)
    return replace(type_, **found)


def _limit(one: Any, path: str) -> dict[str, Any]:
    for kind, name in _BOUNDS:
        if isinstance(one, kind):
            return {name: _plain(getattr(one, name), path)}
    if isinstance(one, annotated_types.GroupedMetadata):
        return {name: value for part in one for name, value in _limit(part, path).items()}
    general = getattr(one, "__dict__", {})
    if not general or not general.keys() <= _GENERAL.keys():
        _refuse(path, f"limits that a schema can keep ({_LIMITS})", repr(one))
    limits = {}
    for key, value in general.items():
        limit = _GENERAL[key]
        if limit is not None and value is not None:
            limits[limit] = not value if limit == "finite" else value
    return limits


def _refuse(path: str, expected: str, actual: str) -> NoReturn:
    raise ValidationError(field=path, expected=expected, actual=actual)
