"""Dotted paths: how `a.b.0` names a place in a document."""

from __future__ import annotations

from functools import lru_cache

from parquedb.documents.values import DOLLAR_FIELDS

Path = tuple[str, ...]

PATH_CHARACTERS_MAX = 4_096


class PathError(ValueError):
    """A path that names no place; its message says why. The caller turns it into its own error."""


@lru_cache(maxsize=4096)
def split_path(text: str) -> Path:
    """The segments of a dotted path.

    Raises:
        PathError: too long, an empty segment, NUL, a lone surrogate, or a first segment that no document can have.
    """
    # Results are kept, so their size has a bound; errors are not kept.
    if len(text) > PATH_CHARACTERS_MAX:
        raise PathError(f"a path has at most {PATH_CHARACTERS_MAX:,} characters")
    segments = tuple(text.split("."))
    if "" in segments:
        raise PathError("a path needs a name on both sides of every dot, and at least one name")
    if "\0" in text:
        raise PathError("a path cannot contain NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PathError("a path must be valid Unicode") from None
    if segments[0][0] == "$" and segments[0] not in DOLLAR_FIELDS:
        raise PathError("no field of a document starts with '$' ($id and $type aside)")
    return segments


def array_index(segment: str) -> int:
    """The array index that a segment means, or -1 when it can only be a field name.

    `0`, `7`, `12` are indexes; `01`, `-1` and digits of other scripts are names, as in MongoDB.
    """
    if segment.isascii() and segment.isdigit() and (segment[0] != "0" or segment == "0"):
        # Longer numbers index nothing that fits in memory, and int() of a very long one is slow.
        return int(segment) if len(segment) < 10 else -1  # noqa: PLR2004 - digits, explained above
    return -1
