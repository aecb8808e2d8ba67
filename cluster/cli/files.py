"""Files that people name: their formats, in the words of the command line."""

from typing import Final

from parquedb.errors import InvalidInputError
from parquedb.storage.exchange.file_formats import Place, place_of

_SAME: Final = {"ndjson": "jsonl"}


def library_format(typed: str | None) -> str | None:
    """Return what the library calls a format."""
    return None if typed is None else _SAME.get(typed, typed)


def place_of_file(path: str, format_: str | None) -> Place:
    """Return a file's place and format; nothing is looked at.

    Raises:
        InvalidInputError: neither its name nor `format_` tells a format.
    """
    try:
        return place_of(path, format_)
    except InvalidInputError as error:
        message = f"{path!r}: its name tells no format: end it with .csv, .ndjson or .parquet, or give --format"
        raise InvalidInputError(message, field="FILE") from error
