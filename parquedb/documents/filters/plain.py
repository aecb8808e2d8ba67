"""Conditions as a call carries them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from parquedb.documents.regex import Regex
from parquedb.documents.values import DEPTH_MAX, type_name
from parquedb.errors import ValidationError


def plain(value: Any, field: str = "filter", depth: int = 0) -> Any:
    """Return a copy of a condition, or of lists and dicts with some: a naive datetime is UTC, a pattern is a `Regex`.

    Raises:
        ValidationError: too deep, or a pattern of bytes.
    """
    if depth > DEPTH_MAX:
        expected, actual = f"at most {DEPTH_MAX} levels of nesting", type_name(value)
        message = f"{field}: expected {expected}, got {actual}"
        raise ValidationError(message, field=field, expected=expected, actual=actual)
    if isinstance(value, Mapping):
        return {name: plain(item, field, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, field, depth + 1) for item in value]
    if isinstance(value, re.Pattern):
        return Regex.of(value)
    # A call would carry it as text.
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
