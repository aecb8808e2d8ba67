"""The checks that the arguments of every public method go through; a mistake is named by its field.

Every check raises `ValidationError` for a value of the wrong kind.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from parquedb.actors.requests.operations import Request
from parquedb.documents.filters import plain
from parquedb.documents.projection import parse_projection
from parquedb.errors import ValidationError
from parquedb.errors.plain import repr_of
from parquedb.storage.keys import check_id, split_id

BATCH_ITEMS_MAX = 10_000
REQUEST_ID_CHARS_MAX = 512


def refuse(field: str, expected: str, actual: object, *, shown: bool = False) -> NoReturn:
    """Refuse an argument.

    Args:
        field: Which one.
        expected: What it should have been.
        actual: What it was; named by its type, for it may be secret or huge.
        shown: Whether a text is shown as it is.

    Raises:
        ValidationError: always.
    """
    # Values may be secret or huge: numbers and names of operations are shown, the rest is named by its type.
    number = isinstance(actual, int | float) and not isinstance(actual, bool)
    got = repr_of(actual)[:80] if number or (shown and isinstance(actual, str)) else type(actual).__name__
    if actual == "":
        got = "an empty one"
    raise ValidationError(f"{field}: expected {expected}, got {got}", field=field, expected=expected, actual=got)


def given_options(**options: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, None and False."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def document_id(namespace: str, value: object) -> str:
    """Return the bare id of a document; `value` may have the namespace in front.

    Raises:
        ValidationError: not a text.
        InvalidPathError: no document can have this id.
    """
    if type(value) is not str:
        refuse("id", "a str", value)
    return check_id(split_id(value, namespace))


def optional_id(namespace: str, value: object) -> str | None:
    """Return the bare id, or None; raises like `document_id`."""
    return None if value is None else document_id(namespace, value)


def document(field: str, value: object) -> dict[str, Any]:
    """Return a dict of what has to be a mapping."""
    if type(value) is dict:
        return value
    if not isinstance(value, Mapping):
        refuse(field, "a dict", value)
    return dict(value)


def filter_document(value: object) -> dict[str, Any] | None:
    """Return the filter; None for one that lets everything pass."""
    return None if value is None else plain(document("filter", value)) or None


def sequence(field: str, value: object) -> Sequence[Any]:
    """Return what has to be a list of at most `BATCH_ITEMS_MAX` items."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        refuse(field, "a list", value)
    if len(value) > BATCH_ITEMS_MAX:
        refuse(field, f"at most {BATCH_ITEMS_MAX} items", len(value))
    return value


def projection(value: Any) -> Any:
    """Return a projection that `parse_projection` understands, or None.

    Raises:
        InvalidProjectionError: it is none.
    """
    if parse_projection(value) is None:
        return None
    return dict(value) if isinstance(value, Mapping) else list(value)


def whole_number(field: str, value: object, low: int, high: int) -> int:
    """Return what has to be an int within bounds, inclusive."""
    if type(value) is not int or not low <= value <= high:
        refuse(field, f"an int from {low} to {high:,}".replace(",", " "), value)
    return value


def as_of(value: object) -> int | datetime | None:
    """Return a point of the past; a naive datetime is taken as UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if value is not None and (type(value) is not int or value < 0):
        refuse("as_of", "a seq of at least 0 or a datetime", value)
    return value


def flag(field: str, value: object) -> bool:
    """Return what has to be True or False."""
    if value is not True and value is not False:
        refuse(field, "True or False", value)
    return value


def version(value: object) -> int | None:
    """Return what has to be a version, or None."""
    if value is not None and (type(value) is not int or value < 1):
        refuse("expected_version", "an int of at least 1", value)
    return value


def optional_text(field: str, value: object) -> str | None:
    """Return what has to be a text, not empty, or None."""
    if value is not None and (not isinstance(value, str) or not value):
        refuse(field, "a str that is not empty", value)
    return value


def request(value: Request | None) -> Request | None:
    """Return a request id, or None."""
    if value is None or isinstance(value, tuple):
        return value
    if not isinstance(value, str) or not 0 < len(value) <= REQUEST_ID_CHARS_MAX:
        refuse("request_id", f"a str of 1 to {REQUEST_ID_CHARS_MAX} characters", value)
    return value
