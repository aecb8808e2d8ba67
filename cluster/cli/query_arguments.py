"""What people type for a query, as the arguments of `find`; refusals say what was expected, and where."""

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from parquedb.cluster.cli.times import moment
from parquedb.documents import extended_json
from parquedb.documents.filters import compile_filter
from parquedb.errors import InvalidInputError

_EXAMPLE: Final = """{"city": "Bern", "total": {"$gte": 100}}"""
_CONTEXT: Final = 30


def filter_of(text: str | None) -> dict[str, Any] | None:
    """Return the filter of a JSON text; None for none.

    Raises:
        InvalidInputError: it is no JSON object; shows the place.
        InvalidFilterError: an operator is not known, or takes something else.
    """
    if text is None:
        return None
    found = _object_of(text, "FILTER", _EXAMPLE)
    compile_filter(found)
    return found


def sort_of(text: str | None) -> list[str] | None:
    """Return the fields of `city,-total`."""
    return None if text is None else _names(text)


def fields_of(text: str | None) -> list[str] | dict[str, Any] | None:
    """Return the fields of `title,author.name`, or a projection of a JSON text.

    Raises:
        InvalidInputError: it begins as JSON and is none.
    """
    if text is None:
        return None
    return _object_of(text, "--fields", """{"body": 0}""") if text.lstrip().startswith("{") else _names(text)


def as_of_of(text: str | None) -> int | datetime | None:
    """Return the seq, or the time, of a past state.

    Raises:
        InvalidInputError: it is neither.
    """
    if text is not None and text.isdecimal():
        return int(text)
    return moment(text, "--as-of", datetime.now(UTC))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _object_of(text: str, argument: str, example: str) -> dict[str, Any]:
    try:
        found = extended_json.loads_request(text)
    except InvalidInputError as error:
        cause = error.__cause__
        if isinstance(cause, orjson.JSONDecodeError):
            where = _pointed(text, cause.pos)
            message = f"{argument} is not JSON: {cause.msg}\n{where}\nexpected an object, such as '{example}'"
            raise InvalidInputError(message, field=argument, context={"position": cause.pos}) from error
        raise InvalidInputError(f"{argument}: {error.message}", field=argument) from error
    if not isinstance(found, dict):
        raise InvalidInputError(
            f"{argument}: expected a JSON object, such as '{example}'; got {text[:_CONTEXT]!r}", field=argument
        )
    return found


def _pointed(text: str, position: int) -> str:
    """Return the part of a text around a position, and below it a mark there."""
    start = max(0, position - _CONTEXT)
    shown = text[start : position + _CONTEXT].replace("\n", " ").replace("\t", " ")
    return f"  {shown}\n  {' ' * (position - start)}^"
