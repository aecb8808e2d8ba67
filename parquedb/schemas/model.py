"""A schema in its one stored form: fields with types, immutable and comparable, and as plain data.

kind                                   Python type of the value
string int float bool date datetime    str, int, float (or int), bool, date, datetime
uuid bytes decimal                     UUID, bytes, Decimal (or int)
json                                   any value, null included
enum                                   one of `values`, same type
object                                 dict with `fields`
map                                    dict from any key to `item`
list                                   list of `item`
relation                               ids of other documents (see `parquedb.schemas.checks`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

FIELDS_MAX: Final = 1_000
"""Fields of a schema, those of nested objects included."""

DEPTH_MAX: Final = 32
"""Levels of objects, maps and lists."""

NO_DEFAULT: Final = None
"""A field without default. A default of null would say nothing: a field that is missing already reads as null."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Where a relationship field leads; stored, not enforced.

    Attributes:
        arrow: `->` and `<-` are exact, `~>` and `<~` fuzzy; the head says which side holds the link.
        target: The other type.
        reverse: Name of the field on the other side; None where none was given.
        many: Whether it leads to several documents.
    """

    arrow: str
    target: str
    reverse: str | None = None
    many: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class FieldType:
    """What a value must be. Attributes beyond `kind` are None, False or empty where they don't apply.

    Attributes:
        kind: See the module.
        nullable: Null is accepted as well.
        item: list, map: Type of each item.
        fields: object: Its fields.
        closed: object: Fields that are not declared are refused, whatever the mode.
        values: enum: What is accepted.
        format: string: `email` or `url`; simple checks (see `parquedb.schemas.checks`).
        min_length: string, bytes, list, map: Characters, bytes or items, at least.
        max_length: The same, at most.
        pattern: string: A regular expression of the Rust `regex` crate, found anywhere in the value.
        ge: Numbers, dates: At least.
        gt: More than.
        le: At most.
        lt: Less than.
        multiple_of: int, float, decimal.
        finite: float: Neither infinite nor NaN.
        precision: decimal: Digits, at most.
        scale: decimal: Digits behind the point, at most.
        relation: relation: Where it leads.
    """

    kind: str
    nullable: bool = False
    item: FieldType | None = None
    fields: tuple[Field, ...] = ()
    closed: bool = False
    values: tuple[Any, ...] = ()
    format: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    ge: Any = None
    gt: Any = None
    le: Any = None
    lt: Any = None
    multiple_of: Any = None
    finite: bool = False
    precision: int | None = None
    scale: int | None = None
    relation: Relation | None = None

    def __repr__(self) -> str:
        said = (f"{one.name}={value!r}" for one in fields(self) if (value := getattr(self, one.name)) != one.default)
        return f"FieldType({', '.join(said)})"

    def to_wire(self) -> dict[str, Any]:
        """Return plain data without what has its default; `from_wire` is the inverse."""
        wire = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        if self.item is not None:
            wire["item"] = self.item.to_wire()
        if self.fields:
            wire["fields"] = [field.to_wire() for field in self.fields]
        if self.values:
            wire["values"] = list(self.values)
        if self.relation is not None:
            wire["relation"] = [getattr(self.relation, one.name) for one in fields(self.relation)]
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> FieldType:
        """Rebuild what `to_wire` gave.

        Raises:
            TypeError, KeyError: it is something else.
        """
        parts = dict(wire)
        if "item" in parts:
            parts["item"] = FieldType.from_wire(parts["item"])
        if "relation" in parts:
            parts["relation"] = Relation(*parts["relation"])
        parts["fields"] = tuple(Field.from_wire(field) for field in parts.get("fields", ()))
        parts["values"] = tuple(parts.get("values", ()))
        return cls(**parts)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object.

    Attributes:
        name: As in the document.
        type: What its value must be.
        required: A document without it is refused.
        default: What a new document gets in its place; `NO_DEFAULT` for nothing.
        index: `index unique fts vector hash`, as declared; stored, not enforced.
        description: In words.
    """

    name: str
    type: FieldType
    required: bool = False
    default: Any = NO_DEFAULT
    index: str | None = None
    description: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return plain data without what has its default; `from_wire` is the inverse."""
        wire: dict[str, Any] = {"name": self.name, "type": self.type.to_wire()}
        if self.required:
            wire["required"] = True
        optional = {"default": self.default, "index": self.index, "description": self.description}
        return wire | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Field:
        """Rebuild what `to_wire` gave; raises like `FieldType.from_wire`."""
        return cls(**{**wire, "type": FieldType.from_wire(wire["type"])})


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of a namespace's documents, system fields aside.

    Attributes:
        fields: In the order of declaration.
        name: Of the type, as relationships of other schemas call it; None where it has none.
        closed: Fields that are not declared are refused, whatever the mode.
    """

    fields: tuple[Field, ...]
    name: str | None = None
    closed: bool = False

    @property
    def root(self) -> FieldType:
        """The document as an object."""
        return FieldType("object", fields=self.fields, closed=self.closed)

    def to_wire(self) -> dict[str, Any]:
        """Return plain data for `from_wire`: document values only."""
        return {"name": self.name, "closed": self.closed, "fields": [field.to_wire() for field in self.fields]}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Schema:
        """Rebuild what `to_wire` gave.

        Raises:
            TypeError, KeyError: it is something else.
        """
        return cls(tuple(Field.from_wire(field) for field in wire["fields"]), wire["name"], wire["closed"])
