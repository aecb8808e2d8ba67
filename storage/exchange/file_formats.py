"""Files that are imported and exported: their formats, and how they are opened, read and put in place.

The suffix tells the format: `.csv`, `.jsonl` or `.ndjson`, `.parquet`. The text formats may be compressed: `.csv.gz`,
`.jsonl.zst`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from parquedb.errors import (
    AlreadyExistsError,
    ErrorCode,
    InvalidInputError,
    NotFoundError,
    StorageReadError,
    StorageWriteError,
)

CSV: Final = "csv"
JSON_LINES: Final = "jsonl"
PARQUET: Final = "parquet"
FORMATS: Final = (CSV, JSON_LINES, PARQUET)

_SUFFIXES: Final = {".csv": CSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".parquet": PARQUET}
_CODECS: Final = {".gz": "gzip", ".zst": "zstd"}
_NAMES: Final = "'csv', 'jsonl' or 'parquet'"


@dataclass(frozen=True, slots=True)
class Place:
    """A file by its name.

    Attributes:
        path: Where it is, or is to be.
        format: One of `FORMATS`.
        codec: `gzip` or `zstd`; None for a file that is not compressed.
    """

    path: Path
    format: str
    codec: str | None


def place_of(path: Any, format: str | None) -> Place:  # noqa: A002 - the public name of the argument
    """Return what a path and, if it is given, a format say; nothing is looked at.

    Raises:
        InvalidInputError: neither names a format.
    """
    if not isinstance(path, str | os.PathLike):
        raise _refused("path", "a path of a file", type(path).__name__)
    where = Path(path).expanduser()
    if "://" in str(path):
        raise _refused("path", "a file of this machine", repr(str(path)))
    codec = _CODECS.get(where.suffix.lower())
    suffix = (Path(where.stem) if codec else where).suffix.lower()
    if format is None:
        if suffix not in _SUFFIXES:
            known = ", ".join(_SUFFIXES)
            raise _refused("path", f"a name that ends with {known}, or format={_NAMES}", repr(where.name))
        format = _SUFFIXES[suffix]  # noqa: A001
    elif format not in FORMATS:
        raise _refused("format", _NAMES, repr(format)[:80])
    if codec and format == PARQUET:
        raise _refused("path", "a Parquet file as it is; it is compressed inside", repr(where.name))
    return Place(where, format, codec)


def check_readable(path: Path) -> int:
    """Return the size of a file that can be imported, in bytes.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it is a directory or another thing that is no file.
        StorageReadError: this process may not read it.
    """
    if path.is_dir():
        raise _refused("path", "a file", f"the directory {str(path)!r}")
    if not path.exists():
        raise NotFoundError(f"path: there is no file {str(path)!r}", code=ErrorCode.FILE_NOT_FOUND)
    if not path.is_file():
        raise _refused("path", "a regular file, which can be read twice", repr(str(path)))
    if not os.access(path, os.R_OK):
        raise StorageReadError(f"path: {str(path)!r} may not be read by this process")
    return path.stat().st_size


def check_writable(place: Place, *, overwrite: bool) -> None:
    """Accept the place of a file to be.

    Raises:
        AlreadyExistsError: there is a file and it shall stay.
        NotFoundError: its folder does not exist.
        InvalidInputError: there is a directory, or a device, pipe or socket, which a file must not replace.
    """
    path = place.path
    if path.is_dir():
        raise _refused("path", "a file", f"the directory {str(path)!r}")
    if path.exists() and not path.is_file():
        raise _refused("path", "a regular file, or none, for it is put there when it is complete", repr(str(path)))
    if not path.parent.is_dir():
        raise NotFoundError(f"path: there is no folder {str(path.parent)!r}", code=ErrorCode.FILE_NOT_FOUND)
    if path.exists() and not overwrite:
        raise AlreadyExistsError(f"path: the file {str(path)!r} exists; overwrite=True replaces it")


class Source:
    """A text file being read.

    Attributes:
        stream: Its content, decompressed.
    """

    def __init__(self, place: Place) -> None:
        self._raw = pa.OSFile(str(place.path))
        self.stream = self._raw if place.codec is None else pa.CompressedInputStream(self._raw, place.codec)

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far."""
        return int(self._raw.tell()) if not self._raw.closed else 0

    def close(self) -> None:
        """Let go of the file."""
        self.stream.close()
        self._raw.close()


@contextlib.contextmanager
def reading(place: Place) -> Iterator[None]:
    """Say of a file that cannot be read what is wrong with it.

    Raises:
        InvalidInputError: its content is not what the format asks for.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError, LookupError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:300]
        raise InvalidInputError(f"not a readable {place.format} file: {reason}{_hint(error)}", field="path") from error


def _hint(error: BaseException) -> str:
    """Return what may be the matter where the library's words do not tell."""
    if isinstance(error, UnicodeDecodeError):
        return "; the file may have another encoding, such as encoding='utf-16' or encoding='latin-1'"
    return "; is a quote not closed, or a row larger than 4 MiB?" if "straddl" in str(error) else ""


class Target:
    """A file being written under another name.

    Attributes:
        stream: Takes its content.
    """

    def __init__(self, place: Place, temporary: Path) -> None:
        self._raw = pa.OSFile(str(temporary), mode="wb")
        self.stream = self._raw if place.codec is None else pa.CompressedOutputStream(self._raw, place.codec)

    @property
    def bytes_written(self) -> int:
        """Bytes of the file written so far."""
        return int(self._raw.tell())

    def close(self) -> None:
        """End the file."""
        if self.stream is not self._raw:
            self.stream.close()
        if not self._raw.closed:
            self._raw.close()


@contextlib.contextmanager
def replacing(place: Place, *, overwrite: bool) -> Iterator[Target]:
    """Write a file beside its place and put it there at the end; after an error nothing has changed.

    Raises:
        AlreadyExistsError: there is a file and it shall stay.
        StorageWriteError: the disk does not take it.
    """
    check_writable(place, overwrite=overwrite)
    temporary = place.path.with_name(f".{place.path.name}.{secrets.token_hex(8)}.tmp")
    try:
        target = Target(place, temporary)
        try:
            yield target
        finally:
            target.close()
        _sync(temporary)
        check_writable(place, overwrite=overwrite)  # Somebody may have put one there meanwhile.
        temporary.replace(place.path)
        _sync(place.path.parent)
    except OSError as error:
        raise StorageWriteError(f"path: {str(place.path)!r} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make the disk keep a file, so that its final name never stands for half of it; or the names in a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _refused(field: str, expected: str, actual: str) -> InvalidInputError:
    return InvalidInputError(
        f"{field}: expected {expected}, got {actual}", field=field, expected=expected, actual=actual
    )
