"""`parquedb keys`, as it is typed: a group of four."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, period
from parquedb.cluster.cli.work import Work

if TYPE_CHECKING:
    from parquedb.cluster.cli.keys import KeysCommand

KeyUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="a directory or s3://bucket/prefix (default: PARQUEDB_URL)"),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="of the key, as `parquedb keys list` shows it")]

HELP: Final = """API keys of the HTTP gateway: issue, list, rotate, revoke.

They are kept in the database, as hashes: a key is printed once, when it is issued, and cannot be shown again. A gateway
notices a revocation within some seconds.
"""

EXAMPLES: Final = {
    "issue": "parquedb keys issue billing read:orders --expires-in 90d --url ./data",
    "list": "parquedb keys list --url ./data",
    "rotate": "parquedb keys rotate 0m2b6w9c1r8k4d7f --overlap 1d --url ./data",
    "revoke": "parquedb keys revoke 0m2b6w9c1r8k4d7f --url ./data",
}


def issue(  # noqa: PLR0913, PLR0917 - one for each option
    name: Annotated[str, typer.Argument(metavar="NAME", help="whose it is; documents that it writes say so")],
    permissions: Annotated[
        list[str], typer.Argument(metavar="PERMISSION", help="such as read:orders or '*:tenant-a-*'")
    ],
    expires_in: Annotated[
        timedelta | None,
        typer.Option("--expires-in", parser=period, metavar="TIME", help="such as 90d, 12h, 30m (default: never)"),
    ] = None,
    requests: Annotated[
        int | None, typer.Option("--requests", metavar="N", help="requests in one window, if not what all may")
    ] = None,
    url: KeyUrl = None,
    as_json: Json = False,
) -> Work:
    """Make a key and print it, alone, on standard output.

    It is shown this once: what the database keeps is a hash of it.
    """
    return _acting(
        url, as_json, lambda keys: keys.issue(name, permissions, expires_in=expires_in, requests_max=requests)
    )


def list_(url: KeyUrl = None, as_json: Json = False) -> Work:
    """Show all keys, but no secrets."""
    return _acting(url, as_json, lambda keys: keys.list())


def rotate(
    id_: KeyId,
    overlap: Annotated[
        timedelta | None,
        typer.Option("--overlap", parser=period, metavar="TIME", help="how long the old one still works (default: 1d)"),
    ] = None,
    url: KeyUrl = None,
    as_json: Json = False,
) -> Work:
    """Make a key that may do the same, and let the old one expire."""
    return _acting(url, as_json, lambda keys: keys.rotate(id_, overlap=overlap))


def revoke(id_: KeyId, url: KeyUrl = None, as_json: Json = False) -> Work:
    """Refuse a key from now on.

    Gateways notice within some seconds.
    """
    return _acting(url, as_json, lambda keys: keys.revoke(id_))


def _acting(url: str | None, as_json: bool, act: Callable[["KeysCommand"], Awaitable[None]]) -> Work:
    def work() -> bool:
        from parquedb.cluster.cli.keys import act_on_keys  # noqa: PLC0415 - imports Ray

        return act_on_keys(url, act, as_json=as_json)

    return work
