"""What a backup holds: one small object for each point in time, written last. Without it there is no backup.

Format, version 1: lines of JSON. The first says what this is (`Catalogue`), one for each namespace follows
(`NamespacePoint`), the last holds the XXH3-128 of everything before it, so that a file that was cut short shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson
import xxhash

from parquedb.errors import CorruptionError, NewerFormatError, ParqueDBError
from parquedb.storage.keys import check_key, check_namespace

FORMAT: Final = 1
_CHECKSUM_DIGITS: Final = 16


class Reference(NamedTuple):
    """One object of a namespace.

    Attributes:
        key: Relative to the namespace.
        size: Bytes.
        checksum: XXH3-64 of its bytes.
    """

    key: str
    size: int
    checksum: int

    @property
    def name(self) -> str:
        """Name of its copy, relative to the namespace's folder in the archive.

        It holds the checksum: a log that was restored elsewhere and went on there has entries of the same names, but
        not of the same bytes, and both may come to lie in one archive.
        """
        return stored_name(self.key, self.checksum)


def stored_name(key: str, checksum: int) -> str:
    """Return the name under which the archive keeps the bytes with this checksum of the object `key`."""
    folder, _, name = key.rpartition("/")
    return f"{folder}/{checksum:0{_CHECKSUM_DIGITS}x}-{name}"


@dataclass(frozen=True, slots=True)
class NamespacePoint:
    """A namespace as of one log entry.

    Attributes:
        namespace: Its name.
        incarnation: Of its log, as hex digits.
        tail: Position of its last entry.
        epoch: Of that entry.
        seq: Of its last change; 0 where there is none.
        log_time_us: Log time of the last entry, Unix microseconds.
        objects: Everything that this state refers to.
    """

    namespace: str
    incarnation: str
    tail: int
    epoch: int
    seq: int
    log_time_us: int
    objects: tuple[Reference, ...]

    @property
    def bytes(self) -> int:
        """Size of all objects."""
        return sum(one.size for one in self.objects)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One point in time that can be restored.

    Attributes:
        point: Its name; later ones sort after earlier ones.
        time: When it was begun; each namespace is as of a moment between then and `ended`.
        ended: When everything had been copied.
        source: URL of the database.
        namespaces: What it holds, sorted by name.
    """

    point: str
    time: datetime
    ended: datetime
    source: str
    namespaces: tuple[NamespacePoint, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the namespaces."""
        return tuple(one.namespace for one in self.namespaces)

    @property
    def objects(self) -> int:
        """Number of objects."""
        return sum(len(one.objects) for one in self.namespaces)

    @property
    def bytes(self) -> int:
        """Size of all objects."""
        return sum(one.bytes for one in self.namespaces)


def encode_catalogue(catalogue: Catalogue) -> bytes:
    """Return the bytes of a catalogue."""
    head = {
        "parquedb_backup": FORMAT,
        "point": catalogue.point,
        "time": catalogue.time.isoformat(),
        "ended": catalogue.ended.isoformat(),
        "source": catalogue.source,
        "namespaces": len(catalogue.namespaces),
    }
    lines = [orjson.dumps(head), *(orjson.dumps(_wire(one)) for one in catalogue.namespaces)]
    content = b"\n".join(lines) + b"\n"
    return content + orjson.dumps({"checksum": xxhash.xxh3_128_hexdigest(content)}) + b"\n"


def _wire(one: NamespacePoint) -> dict[str, Any]:
    objects = [[key, size, f"{checksum:0{_CHECKSUM_DIGITS}x}"] for key, size, checksum in one.objects]
    facts = {name: getattr(one, name) for name in ("namespace", "incarnation", "tail", "epoch", "seq", "log_time_us")}
    return {**facts, "objects": objects}


def decode_catalogue(key: str, data: bytes) -> Catalogue:
    """Check and take apart the bytes of a catalogue.

    Raises:
        CorruptionError: cut short, altered, or names what no backup can hold; names `key`.
        NewerFormatError: a later version of this library wrote it.
    """
    content, _, last = data.removesuffix(b"\n").rpartition(b"\n")
    content += b"\n"
    version = None
    try:
        whole = data.endswith(b"\n") and orjson.loads(last)["checksum"] == xxhash.xxh3_128_hexdigest(content)
        if whole:
            head, *lines = map(orjson.loads, content.splitlines())
            version = head["parquedb_backup"]
            if version == FORMAT:
                return _catalogue(head, lines)
    except (ValueError, KeyError, TypeError, AttributeError, ParqueDBError) as error:
        raise CorruptionError(key=key, reason=f"no catalogue of a backup: {error}", cause=error) from error
    if not whole:
        raise CorruptionError(key=key, reason="no catalogue of a backup: cut short, or its checksum differs")
    raise NewerFormatError(key=key, reason=f"version {version!r} of the catalogue, known up to {FORMAT}")


def _catalogue(head: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Catalogue:
    if head["namespaces"] != len(lines):
        raise ValueError(f"{len(lines)} namespaces instead of {head['namespaces']}")
    time, ended = (datetime.fromisoformat(head[name]).astimezone(UTC) for name in ("time", "ended"))
    return Catalogue(str(head["point"]), time, ended, str(head["source"]), tuple(map(_namespace, lines)))


def _namespace(wire: Mapping[str, Any]) -> NamespacePoint:
    # Whoever restores makes objects of these names.
    objects = tuple(Reference(check_key(key), int(size), int(checksum, 16)) for key, size, checksum in wire["objects"])
    number: Callable[[str], int] = lambda name: int(wire[name])  # noqa: E731 - four of a kind
    return NamespacePoint(
        check_namespace(wire["namespace"]),
        str(wire["incarnation"]),
        number("tail"),
        number("epoch"),
        number("seq"),
        number("log_time_us"),
        objects,
    )
