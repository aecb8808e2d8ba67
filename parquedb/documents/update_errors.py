"""How updates are refused: one wording for each kind of mistake, with its facts."""

from __future__ import annotations

from typing import Any, Final

from parquedb.documents.comparison import MISSING
from parquedb.documents.paths import Path
from parquedb.documents.values import type_name
from parquedb.errors import InvalidUpdateError

_SHOWN_CHARS: Final = 60
_SHOWN_BELOW: Final = 10**9


def dotted(path: Path) -> str:
    """Return a path as it is written."""
    return ".".join(path)


def shown(value: Any) -> str:
    """Return a short text or number as it is written, and the type of anything else, which may be secret or huge."""
    if type(value) is str:
        return repr(value[:_SHOWN_CHARS])
    if type(value) in {int, float} and -_SHOWN_BELOW < value < _SHOWN_BELOW:
        return repr(value)
    return type_name(value)


def wrong_operand(op: str, text: str, expected: str, actual: str) -> InvalidUpdateError:
    """Return the error for an operand that the operator does not take."""
    return InvalidUpdateError(
        f"{op} {text!r} expects {expected}, not {actual}", operator=op, path=text, expected=expected, actual=actual
    )


def wrong_value(op: str, text: str, expected: str, value: Any) -> InvalidUpdateError:
    """Return the error for a value in the document that the operator cannot work on."""
    actual = type_name(value)
    return InvalidUpdateError(
        f"cannot apply {op} to {text!r}, which holds {actual}, not {expected}",
        operator=op,
        path=text,
        expected=expected,
        actual=actual,
    )


def no_array(segment: str, at: Path, value: Any) -> InvalidUpdateError:
    """Return the error for a positional form where there is no array."""
    actual = "nothing" if value is MISSING else type_name(value)
    message = f"{segment} needs an array at {dotted(at)!r}, which holds {actual}"
    return InvalidUpdateError(message, operator=segment, path=dotted(at), expected="an array", actual=actual)


def cannot_create(at: Path, name: str, actual: str) -> InvalidUpdateError:
    """Return the error for a field that would have to be made in what can have none."""
    return InvalidUpdateError(
        f"cannot create field {name!r} in {dotted(at)!r}, which holds {actual}",
        path=dotted((*at, name)),
        expected="a dict",
        actual=actual,
    )


def conflict(op: str, path: Path, at: Path) -> InvalidUpdateError:
    """Return the error for two changes of one place."""
    return InvalidUpdateError(
        f"updating the path {dotted(path)!r} would create a conflict at {dotted(at)!r}",
        operator=op,
        path=dotted(path),
        expected="one change of each place",
        actual=f"two at {dotted(at)!r}",
    )


def too_much(at: Path, what: str, limit: int, actual: int) -> InvalidUpdateError:
    """Return the error for an update that does more than one may."""
    return InvalidUpdateError(
        f"cannot {what} at {dotted(at)!r}: that makes {actual:,} in this update; the most is {limit:,}",
        path=dotted(at),
        expected=f"at most {limit:,}",
        actual=f"{actual:,}",
    )
