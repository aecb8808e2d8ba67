"""Arguments and options that several sub-commands share: one spelling and one meaning each."""

import re
from datetime import timedelta
from typing import Annotated, Final

import typer

from parquedb.cluster.cli import completion

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PERIOD: Final = re.compile(r"(\d{1,6})([smhd])")

ENVIRONMENT: Final = "-"
"""In the place of a URL: the one that the environment names."""


def place(url: str | None) -> str | None:
    """Return the URL of an argument; None is the one of the environment."""
    return None if url == ENVIRONMENT else url


def archive(text: str | None) -> str | None:
    """Return the place of backups, which has no variable of its own.

    Raises:
        typer.BadParameter: it is the sign for the place of the database.
    """
    if text == ENVIRONMENT:
        raise typer.BadParameter(f"{ENVIRONMENT} stands for PARQUEDB_URL, which is the database; name the backups")
    return text


def period(text: str) -> timedelta:
    """Parse a time such as `90d`.

    Raises:
        typer.BadParameter: it is none.
    """
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"expected a number and a unit, such as 90d, 12h, 30m or 5s; got {text!r}")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


_STORED: Final = "a directory, or s3://bucket/prefix; - or nothing: what PARQUEDB_URL says"
_ANYWHERE: Final = "a directory, s3://bucket/prefix, or https://gateway; - or nothing: what PARQUEDB_URL says"

_BEFORE: Final = "a directory, s3://bucket/prefix, or https://gateway; -: what PARQUEDB_URL says"

StoredUrl = Annotated[str | None, typer.Argument(metavar="URL", help=_STORED, callback=place, show_default=False)]
"""Where a database is stored: for what reads storage by itself, or stands in front of it."""

Url = Annotated[str | None, typer.Argument(metavar="URL", help=_ANYWHERE, callback=place, show_default=False)]
"""Where a database is, or who serves it."""

RequiredUrl = Annotated[str | None, typer.Argument(metavar="URL", help=_BEFORE, callback=place)]
"""The same where something has to follow it, so that it cannot be left out."""

Namespace = Annotated[
    str, typer.Argument(metavar="NAMESPACE", help="the namespace", autocompletion=completion.namespaces)
]

Namespaces = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAMESPACE",
        help="which ones (default: all)",
        show_default=False,
        autocompletion=completion.namespaces,
    ),
]

Json = Annotated[bool, typer.Option("--json", metavar="", help="print JSON, for programs; errors as well")]
