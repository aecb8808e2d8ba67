"""Cursors of a query: where the last page ended, as text that means something to the same query only.

It carries what the last document sorted by and its id, so the next page begins behind that place whatever has been
written since. A document that existed all along and kept its sort values is met exactly once.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

import xxhash

from parquedb.documents.codec import decode, encode
from parquedb.documents.sorting import EMPTY_ARRAY, Sort
from parquedb.documents.values import normalize_value
from parquedb.errors import CorruptionError, InvalidInputError, InvalidSortError, ValidationError

CURSOR_CHARS_MAX: Final = 1 << 16

_VERSION: Final = 1
_INT_BITS: Final = 64


def fingerprint(sort: Sort, filter_: Mapping[str, Any] | None, *, include_deleted: bool) -> int:
    """Return what tells one query from another: its order and its filter, not its page."""
    query = [sort.to_wire(), _canonical(filter_ or {}), include_deleted]
    return xxhash.xxh3_64_intdigest(repr(query).encode("utf-8", "surrogatepass")) >> 1


def make_cursor(query: int, values: Sequence[Any], id_: str) -> str:
    """Return the cursor behind a document.

    Args:
        query: Its `fingerprint`.
        values: What the document sorts by.
        id_: Its bare id.

    Raises:
        InvalidSortError: the values are too long to be carried along.
    """
    # An array without elements is a value of its own here.
    wire = [[] if value is EMPTY_ARRAY else [value] for value in values]
    cursor = base64.urlsafe_b64encode(encode([_VERSION, query, wire, id_])).rstrip(b"=").decode()
    if len(cursor) > CURSOR_CHARS_MAX:
        raise InvalidSortError(
            f"sort: the values of document {id_!r} are too long for a cursor ({len(cursor):,} characters, at most "
            f"{CURSOR_CHARS_MAX:,}); sort by shorter fields"
        )
    return cursor


def read_cursor(cursor: Any, query: int, sort: Sort) -> tuple[list[Any], str]:
    """Return the values and the bare id that a cursor carries.

    Raises:
        InvalidInputError: it is no cursor, or one of another query.
    """
    if not isinstance(cursor, str) or len(cursor) > CURSOR_CHARS_MAX:
        raise _refused("the next_cursor of a page", "something else")
    try:
        wire = decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        version, mark, values, id_ = wire
        found = [normalize_value(value[0]) if value else EMPTY_ARRAY for value in values]
    except (binascii.Error, CorruptionError, ValidationError, ValueError, TypeError, LookupError):
        raise _refused("the next_cursor of a page", "something else") from None
    if version != _VERSION or mark != query or len(found) != len(sort.fields) or not isinstance(id_, str):
        raise _refused("a cursor of this query", "one of another filter or sort")
    return found, id_


def _refused(expected: str, actual: str) -> InvalidInputError:
    return InvalidInputError(f"cursor: expected {expected}, got {actual}", field="cursor", expected=expected)


def _canonical(value: Any) -> Any:
    """Return a form that is the same however the keys are ordered and lists were given."""
    if isinstance(value, Mapping):
        return {str(name): _canonical(item) for name, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    # `repr` takes no int of more than 4 300 digits.
    return ("int", hex(value)) if type(value) is int and value.bit_length() > _INT_BITS else value
