"""Names as object keys: one injective encoding of every user-given segment, the same on every backend.

A key is `/`-joined encoded segments. The output alphabet is `a-z 0-9 . _ ~ -`: upper-case letters are escaped because
some disks ignore case, and a dot never stands first or last, so `.` and `..` cannot occur. `~` always begins an escape
of two hex digits; the names `~probe` and those a backend keeps for itself (`~tmp`) begin with no hex escape and
therefore collide with nothing a user can name. Neither do folders of a partitioned data set, such as `year=2026`: they
are keys as well, and `=` is in no encoded segment.
"""

import re
import unicodedata

from parquedb.errors import InvalidInputError, InvalidPathError, PathTraversalError, ValidationError

SEGMENT_LENGTH_MAX = 200
"""Characters of one encoded segment; file systems stop at 255 bytes."""

KEY_LENGTH_MAX = 700
"""Characters of a whole key; S3 stops at 1 024 bytes, the rest is left for the bucket prefix."""

NAMESPACE_LENGTH_MAX = 128
ID_LENGTH_MAX = 512
LIST_LIMIT_MAX = 1000

PROBE_FOLDER = "~probe"

_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
_ESCAPE = [chr(byte) if byte in _KEPT else f"~{byte:02x}" for byte in range(256)]
_SEGMENT_PATTERN = r"(?:[a-z0-9_-]|~[0-9a-f]{2})(?:(?:[a-z0-9._-]|~[0-9a-f]{2})*(?:[a-z0-9_-]|~[0-9a-f]{2}))?"
_SEGMENT = re.compile(_SEGMENT_PATTERN)
# As Hive names the partitions of a data set; the form that other readers take values from.
_PARTITION_PATTERN = r"[a-z][a-z0-9_]*=[a-z0-9_-]+"
_PART = rf"(?:{_SEGMENT_PATTERN}|{_PARTITION_PATTERN})"
_KEY = re.compile(rf"(?:{PROBE_FOLDER}/)?{_PART}(?:/{_PART})*")
_PARTIAL = re.compile(r"(?:[a-z0-9_~-][a-z0-9._~-]*|[a-z][a-z0-9_]*=[a-z0-9_-]*)?")

_NAMESPACE_RULE = (
    f"a namespace is 1 to {NAMESPACE_LENGTH_MAX} characters of text without '/', '\\', NUL or control characters, "
    "and neither '.' nor '..'"
)


def encode_segment(text: str) -> str:
    """Return `text` as one key segment; different texts give different segments, also where case is ignored.

    Raises:
        InvalidPathError: empty, not encodable as UTF-8, or longer than `SEGMENT_LENGTH_MAX` once encoded.
    """
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise InvalidPathError(f"{text!r} holds half of a surrogate pair and is no text", path=ascii(text)) from None
    if not raw:
        raise InvalidPathError("an empty name cannot be stored", path=text)
    last = len(raw) - 1
    encoded = "".join("." if byte == ord(".") and 0 < index < last else _ESCAPE[byte] for index, byte in enumerate(raw))
    if len(encoded) > SEGMENT_LENGTH_MAX:
        raise InvalidPathError(
            f"{text[:40]!r}... takes {len(encoded)} characters when stored; {SEGMENT_LENGTH_MAX} is the most", path=text
        )
    return encoded


def decode_segment(segment: str) -> str:
    """Return the text that `encode_segment` turned into `segment`.

    Raises:
        InvalidPathError: `encode_segment` never returns this.
    """
    text = None
    if is_segment(segment):
        try:
            text = re.sub(rb"~(..)", lambda match: bytes([int(match[1], 16)]), segment.encode()).decode()
        except UnicodeDecodeError:
            text = None
    # The comparison refuses a second spelling of a name, such as an escaped letter.
    if text is None or encode_segment(text) != segment:
        raise InvalidPathError(f"{segment!r} is not an encoded name", path=segment)
    return text


def is_segment(segment: str) -> bool:
    """Whether this could be one encoded segment: right alphabet, no reserved name, not too long."""
    return len(segment) <= SEGMENT_LENGTH_MAX and _SEGMENT.fullmatch(segment) is not None


def is_key(key: str) -> bool:
    """Whether `check_key` would accept it; for sorting foreign objects out of a listing."""
    return (
        len(key) <= KEY_LENGTH_MAX
        and _KEY.fullmatch(key) is not None
        and (len(key) <= SEGMENT_LENGTH_MAX or all(len(part) <= SEGMENT_LENGTH_MAX for part in key.split("/")))
    )


def check_key(key: str) -> str:
    """Return `key` if it consists of encoded segments and `name=value` folders of partitions.

    Raises:
        PathTraversalError: it holds something that could lead out of the root.
        InvalidPathError: any other character or length that `encode_segment` does not produce.
    """
    if isinstance(key, str) and is_key(key):
        return key
    raise _refusal(key)


def check_prefix(prefix: str) -> str:
    """Return `prefix` if some key could start with it; it may end inside a segment.

    Raises:
        PathTraversalError: it holds something that could lead out of the root.
        InvalidPathError: no key starts like this.
    """
    if isinstance(prefix, str):
        folder, slash, rest = prefix.rpartition("/")
        folder_fits = not slash or folder == PROBE_FOLDER or is_key(folder)
        if folder_fits and len(rest) <= SEGMENT_LENGTH_MAX and _PARTIAL.fullmatch(rest):
            return prefix
    raise _refusal(prefix)


def check_folder(prefix: str) -> str:
    """Return `prefix` if it is empty or a whole folder ending in `/`.

    Raises:
        PathTraversalError, InvalidPathError: as `check_prefix`.
    """
    if check_prefix(prefix) and not prefix.endswith("/"):
        raise InvalidPathError(f"the folder {prefix!r} must end in '/'", path=prefix)
    return prefix


def check_limit(limit: int) -> int:
    """Return `limit` if it is 1 to `LIST_LIMIT_MAX`.

    Raises:
        InvalidInputError: it is not.
    """
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise InvalidInputError(f"a listing takes a limit of 1 to {LIST_LIMIT_MAX} objects, not {limit}")
    return limit


def check_range(start: int, length: int) -> None:
    """Accept byte positions that are not negative.

    Raises:
        InvalidInputError: one is.
    """
    if start < 0 or length < 0:
        raise InvalidInputError(f"a byte range takes a start and a length from 0 up, not {start} and {length}")


def _refusal(key: object) -> InvalidPathError:
    if not isinstance(key, str):
        return InvalidPathError(f"a key is text, not {type(key).__name__}", path=ascii(key))
    parts = key.replace("\\", "/").split("/")
    if key.startswith(("/", "\\")) or "\\" in key or "\0" in key or "." in parts or ".." in parts:
        return PathTraversalError(f"the key {key!a} would lead out of the database", path=ascii(key)[1:-1])
    return InvalidPathError(f"{key[:80]!a} is no key: its segments are not encoded names", path=ascii(key)[1:-1])


def check_namespace(name: str) -> str:
    """Return `name` if it may name a namespace. Dots inside or in front, `%2e%2e` and any script are plain data.

    Raises:
        PathTraversalError: `.`, `..`, or a slash or backslash anywhere.
        InvalidPathError: no text, empty, too long, a control character or half of a surrogate pair.
    """
    if not isinstance(name, str):
        raise InvalidPathError(f"{_NAMESPACE_RULE}; this is a {type(name).__name__}", path=ascii(name))
    if name in {".", ".."} or "/" in name or "\\" in name:
        raise PathTraversalError(f"{name[:80]!r} cannot be a namespace: {_NAMESPACE_RULE}", path=ascii(name)[1:-1])
    if not 1 <= len(name) <= NAMESPACE_LENGTH_MAX or _has_odd_characters(name):
        raise InvalidPathError(f"{name[:80]!a} cannot be a namespace: {_NAMESPACE_RULE}", path=ascii(name)[1:-1])
    encode_segment(name)
    return name


def namespace_prefix(name: str) -> str:
    """Return the folder, with its slash, that holds everything of a namespace."""
    return encode_segment(check_namespace(name)) + "/"


def check_id(id: str) -> str:  # noqa: A002 - the public word for it
    """Return `id` if it may name a document. Ids are data, never paths: slashes and dots mean nothing in them.

    Raises:
        ValidationError: no text, empty, longer than `ID_LENGTH_MAX` characters, a control character or half of a
            surrogate pair.
    """
    # Nearly all.
    if type(id) is str and 0 < len(id) <= ID_LENGTH_MAX and id.isprintable():
        return id
    if not isinstance(id, str):
        found = f"a {type(id).__name__}"
    elif not 1 <= len(id) <= ID_LENGTH_MAX:
        found = f"{len(id)} characters"
    elif _has_odd_characters(id):
        found = ascii(id[:80])
    else:
        return id
    expected = f"1 to {ID_LENGTH_MAX} characters of text without control characters"
    raise ValidationError(f"$id: expected {expected}, got {found}", field="$id", expected=expected, actual=found)


def split_id(id: str, namespace: str) -> str:  # noqa: A002 - the public word for it
    """Return the id without its namespace: exactly one leading `<namespace>/` is taken off, if there is one."""
    return id.removeprefix(namespace + "/")


def _has_odd_characters(text: str) -> bool:
    # Cc: control characters with NUL and DEL; Cs: half of a surrogate pair, which UTF-8 cannot hold.
    return not text.isprintable() and any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
