"""A schema at work: fills in defaults and checks documents, as the mode says."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from enum import StrEnum
from typing import Any, Final

from parquedb.documents.values import DOLLAR_FIELDS, MANAGED_FIELDS
from parquedb.schemas.checks import Violation, compile_object
from parquedb.schemas.model import FieldType, Schema

SYSTEM_FIELDS: Final = frozenset({*DOLLAR_FIELDS, "name", *MANAGED_FIELDS})
"""Fields that a document may have whatever its schema says."""

Fill = Callable[[Any, bool], Any]


class Mode(StrEnum):
    """What becomes of a document that its schema does not describe."""

    STRICT = "strict"
    """Violations are refused, and so are fields that are not declared, at every level."""

    PERMISSIVE = "permissive"
    """Violations are refused; fields that are not declared are nobody's business."""

    WARN = "warn"
    """Violations are let through; whoever holds the guard logs and counts them."""


class Guard:
    """Holds documents to a schema. Immutable; safe to share.

    Args:
        schema: What they must look like.
        mode: See `Mode`; `WARN` checks like `PERMISSIVE`, the caller decides what to do about it.
    """

    def __init__(self, schema: Schema, mode: Mode) -> None:
        self.mode = mode
        self._test = compile_object(schema.root, strict=mode is Mode.STRICT, beside=SYSTEM_FIELDS)
        self._fill = _filler(schema.root)

    @property
    def fills(self) -> bool:
        """Whether it may add to a document."""
        return self._fill is not None

    def fill(self, document: dict[str, Any], *, new: bool) -> bool:
        """Put defaults where fields are missing; containers below the document are copied, never changed.

        Args:
            document: Changed in place.
            new: Its fields are all the caller's, who left some out. An update fills required fields only, which
                documents from before the field was declared lack.

        Returns:
            Whether anything was missing.
        """
        filled = document if self._fill is None else self._fill(document, new)
        if filled is document:
            return False
        document.update(filled)
        return True

    def check(self, document: dict[str, Any]) -> None:
        """Return if a document is as declared.

        Raises:
            ValidationError: it is not; names the first field found, what it asks for and what it got.
        """
        try:
            self._test(document)
        except Violation as violation:
            raise violation.error("document") from None


def _filler(type_: FieldType) -> Fill | None:
    """Return what gives a value of the type with its defaults: the value itself where nothing is missing."""
    if type_.kind == "object":
        return _object_filler(type_)
    below = None if type_.item is None else _filler(type_.item)
    if below is None:
        return None

    def fill(value: Any, new: bool) -> Any:
        if type(value) is list:
            items = [below(item, new) for item in value]
            return items if any(map(_differ, items, value)) else value
        if type(value) is dict:
            entries = {name: below(item, new) for name, item in value.items()}
            return entries if any(map(_differ, entries.values(), value.values())) else value
        return value

    return fill


def _object_filler(type_: FieldType) -> Fill | None:
    defaults = [(field.name, field.default, field.required) for field in type_.fields if field.default is not None]
    nested = [(field.name, inner) for field in type_.fields if (inner := _filler(field.type)) is not None]
    if not defaults and not nested:
        return None

    def fill(value: Any, new: bool) -> Any:
        if type(value) is not dict:
            return value
        added: dict[str, Any] = {}
        for name, default, required in defaults:
            if name not in value and (new or required):
                added[name] = deepcopy(default) if type(default) in {list, dict} else default
        for name, below in nested:
            if name in value:
                before = value[name]
                after = below(before, new)
                if after is not before:
                    added[name] = after
        return {**value, **added} if added else value

    return fill


def _differ(one: Any, other: Any) -> bool:
    return one is not other
