"""The compact notation of schemas: `{"email": "string!#", "age": "int?", "tags": "string[]"}`.

    field     = type modifier* [ "=" default ]     modifiers in any order
    type      = string text markdown int float number double decimal decimal(p,s) bool boolean date datetime timestamp
                uuid bytes binary json any email url varchar(n) char(n) vector(n) enum(a,b,...) object
    modifier  = "!" required  "?" optional (as without it)  "[]" list of it
                "#" indexed  "##" unique  "#fts" "#vec" "#hash" other indexes
    relation  = ("->" | "<-" | "~>" | "<~") Type [ "." field ] [ "[]" ]
    object    = a dict of fields; or, with a key "type", the long form of one field (`LONG_FORM`)

A required field refuses null, any other accepts it. Source: the notation of ParqueDB for TypeScript; ours are modifiers
in any order, `object` with `fields`, and defaults that are checked against their type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn
from uuid import UUID

import orjson

from parquedb.errors import ValidationError
from parquedb.schemas.model import DEPTH_MAX, Field, FieldType, Relation

LONG_FORM: Final = frozenset(
    {"type", "fields", "required", "default", "index", "description", "pattern", "min", "max", "minLength",
     "maxLength", "enum"}
)  # fmt: skip

_KINDS: Final[Mapping[str, str]] = {
    "string": "string", "text": "string", "markdown": "string", "email": "string", "url": "string",
    "int": "int", "float": "float", "number": "float", "double": "float", "decimal": "decimal",
    "bool": "bool", "boolean": "bool", "date": "date", "datetime": "datetime", "timestamp": "datetime",
    "uuid": "uuid", "bytes": "bytes", "binary": "bytes", "json": "json", "any": "json", "object": "object",
}  # fmt: skip
_INDEXES: Final[Mapping[str, str]] = {"#fts": "fts", "#vec": "vector", "#hash": "hash", "##": "unique", "#": "index"}
_INDEX_WORDS: Final[Mapping[Any, str | None]] = {
    True: "index", False: None, "index": "index", "unique": "unique", "fts": "fts", "vector": "vector", "hash": "hash",
}  # fmt: skip

_TYPES: Final = (
    "a type (string text markdown int float number decimal(p,s) bool date datetime uuid bytes json email url "
    "varchar(n) char(n) vector(n) enum(a,b) object) with modifiers ! ? [] # ## and = default"
)
_RELATION_FORM: Final = "-> Type.field, <- Type.field, ~> Type or <~ Type, with [] for many"
_BASE: Final = re.compile(r"\s*([A-Za-z]+)\s*(?:\(([^()]*)\))?\s*")
_MODIFIER: Final = re.compile(r"(!|\?|\[\]|#fts|#vec|#hash|##|#)\s*")
_RELATION: Final = re.compile(r"(->|<-|~>|<~)\s*(\w+)(?:\.(\w+))?(?:\s*(\[\]))?\s*!?", re.ASCII)
_PRECISION_MAX: Final = 1_000
_PATH_SHOWN: Final = 80


def parse_fields(source: Mapping[str, Any], path: str = "") -> tuple[Field, ...]:
    """Read the fields of an object.

    Args:
        source: Name to notation.
        path: Dotted path of the object, for messages.

    Raises:
        ValidationError: a field is not in the notation; shows the field, its text and what was expected.
    """
    if path.count(".") > DEPTH_MAX:
        _refuse(path[:_PATH_SHOWN], f"at most {DEPTH_MAX} levels", "more")
    return tuple(_field(name, text, f"{path}.{name}" if path else name) for name, text in source.items())


def _field(name: Any, source: Any, path: str) -> Field:
    if type(name) is not str:
        _refuse(path, "a field name that is a str", repr(name))
    if isinstance(source, str):
        return _relation(name, source, path) if source.lstrip()[:2] in _ARROWS else _simple(name, source, path)
    if not isinstance(source, Mapping):
        _refuse(path, f"{_TYPES}; or a dict of fields", type(source).__name__)
    if "type" in source:
        return _long(name, source, path)
    return Field(name, FieldType("object", nullable=True, fields=parse_fields(source, path)))


_ARROWS: Final = frozenset({"->", "<-", "~>", "<~"})


def _relation(name: str, text: str, path: str) -> Field:
    found = _RELATION.fullmatch(text.strip())
    if found is None:
        _refuse(path, f"a relationship: {_RELATION_FORM}", text)
    arrow, target, reverse, many = found.groups()
    required = text.rstrip().endswith("!")
    relation = Relation(arrow, target, reverse, many is not None)
    return Field(name, FieldType("relation", nullable=not required, relation=relation), required)


def _simple(name: str, text: str, path: str) -> Field:
    base = _BASE.match(text)
    if base is None:
        _refuse(path, _TYPES, text)
    type_ = _base_type(base[1], base[2], path, text)
    at, required, optional, lists = base.end(), False, False, 0
    index: str | None = None
    while (modifier := _MODIFIER.match(text, at)) is not None:
        sign, at = modifier[1], modifier.end()
        if sign == "[]":
            lists += 1
        elif sign == "!":
            required = True
        elif sign == "?":
            optional = True
        elif index is None:
            index = _INDEXES[sign]
        else:
            _refuse(path, "one index modifier at most", text)
    if required and optional:
        _refuse(path, "either ! or ?, not both", text)
    for _ in range(lists):
        type_ = FieldType("list", item=type_)
    type_ = replace(type_, nullable=not required or type_.kind == "json")
    rest = text[at:].strip()
    if not rest:
        return Field(name, type_, required, index=index)
    if not rest.startswith("="):
        _refuse(path, f"{_TYPES}; cannot read {rest!r}", text)
    return Field(name, type_, required, _default(rest[1:].strip(), type_, path, text), index)


def _base_type(word: str, arguments: str | None, path: str, text: str) -> FieldType:
    if word == "enum":
        values = [_unquoted(value.strip()) for value in (arguments or "").split(",")]
        if not all(values) or len(set(values)) < len(values):
            _refuse(path, "enum(a,b,...) with different values", text)
        return FieldType("enum", values=tuple(values))
    if word in {"varchar", "char", "vector"}:
        (count,) = _counts(arguments, 1, f"{word}(n)", path, text)
        if word == "vector":
            return FieldType("list", item=FieldType("float"), min_length=count, max_length=count)
        return FieldType("string", min_length=count if word == "char" else None, max_length=count)
    if word == "decimal" and arguments is not None:
        precision, scale = _counts(arguments, 2, "decimal(p,s) with p from 1 and s up to p", path, text)
        if not scale <= precision or precision == 0:
            _refuse(path, "decimal(p,s) with p from 1 and s up to p", text)
        return FieldType("decimal", precision=precision, scale=scale)
    kind = _KINDS.get(word)
    if kind is None or arguments is not None:
        _refuse(path, _TYPES, text)
    return FieldType(kind, format=word if word in {"email", "url"} else None)


def _counts(arguments: str | None, number: int, form: str, path: str, text: str) -> list[int]:
    parts = [part.strip() for part in (arguments or "").split(",")]
    good = all(part.isascii() and part.isdigit() and len(part) <= len("100000000") for part in parts)
    if len(parts) != number or not good:
        _refuse(path, form, text)
    return [int(part) for part in parts]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _default(written: str, type_: FieldType, path: str, text: str) -> Any:
    read = _READERS.get(type_.kind, orjson.loads)
    if not written:
        _refuse(path, "a default after =", text)
    try:
        return None if written == "null" else read(_unquoted(written) if read is not orjson.loads else written)
    except (ValueError, InvalidOperation):
        _refuse(path, f"a default that is {type_.kind}", text)


def _instant(written: str) -> datetime:
    value = datetime.fromisoformat(written)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "string": str,
    "float": float,
    "enum": str,
    "decimal": Decimal,
    "date": date.fromisoformat,
    "datetime": _instant,
    "uuid": UUID,
    "bytes": str.encode,
}


def _long(name: str, source: Mapping[str, Any], path: str) -> Field:
    """Read `{"type": "string!", "maxLength": 10}`: the notation with what it has no signs for."""
    unknown = sorted(map(str, set(source) - LONG_FORM))
    if unknown:
        hint = f'only {", ".join(sorted(LONG_FORM))} beside "type"; a nested field of that name needs '
        _refuse(path, hint + '{"type": "object", "fields": {"type": ...}}', ", ".join(unknown))
    text = source["type"]
    if not isinstance(text, str):
        _refuse(f"{path}.type", _TYPES, type(text).__name__)
    field = _field(name, text, path)
    if "fields" in source:
        fields = source["fields"]
        if not isinstance(fields, Mapping) or _innermost(field.type).kind != "object":
            _refuse(f"{path}.fields", 'a dict of fields beside the type "object"', text)
        field = replace(field, type=_with_fields(field.type, parse_fields(fields, path)))
    type_ = replace(field.type, **_limits(source, field.type, path))
    required = source.get("required", field.required)
    if type(required) is not bool or (field.required and not required):
        _refuse(f"{path}.required", "True or False, as the type's ! says", repr(source["required"]))
    index = source.get("index", field.index)
    if not isinstance(index, str | bool | None) or (index is not None and index not in _INDEX_WORDS):
        _refuse(f"{path}.index", "True, 'unique', 'fts', 'vector' or 'hash'", repr(index))
    described = source.get("description")
    if described is not None and type(described) is not str:
        _refuse(f"{path}.description", "a str", type(described).__name__)
    type_ = replace(type_, nullable=type_.kind == "json" or not required)
    index = None if index is None else _INDEX_WORDS[index]
    default = source.get("default", field.default)
    default = float(default) if type_.kind == "float" and type(default) is int else default
    return Field(name, type_, required, default, index, described)


def _limits(source: Mapping[str, Any], type_: FieldType, path: str) -> dict[str, Any]:
    sized, ordered = {"string", "bytes", "list"}, {"int", "float", "decimal", "date", "datetime"}
    limits: dict[str, Any] = {}
    for key, attribute, kinds in (
        ("minLength", "min_length", sized),
        ("maxLength", "max_length", sized),
        ("min", "ge", ordered),
        ("max", "le", ordered),
        ("pattern", "pattern", {"string"}),
    ):
        if key in source:
            if type_.kind not in kinds:
                _refuse(f"{path}.{key}", f"a type that has it: {', '.join(sorted(kinds))}", type_.kind)
            limits[attribute] = source[key]
    if "enum" in source:
        values = source["enum"]
        if not isinstance(values, list | tuple) or not values or type_.kind not in {"string", "int", "json"}:
            _refuse(f"{path}.enum", "a list of values beside the type string, int or json", repr(values)[:80])
        limits |= {"kind": "enum", "values": tuple(values), "format": None}
    return limits


def _innermost(type_: FieldType) -> FieldType:
    return type_ if type_.kind != "list" or type_.item is None else _innermost(type_.item)


def _with_fields(type_: FieldType, fields: tuple[Field, ...]) -> FieldType:
    if type_.kind == "list" and type_.item is not None:
        return replace(type_, item=_with_fields(type_.item, fields))
    return replace(type_, fields=fields)


def _refuse(path: str, expected: str, text: str) -> NoReturn:
    raise ValidationError(field=path, expected=expected, actual=repr(text) if text[:1] not in "'\"" else text)
