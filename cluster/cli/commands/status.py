"""`parquedb status`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, Url
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb status ./data", "parquedb status https://db.example.com --verify")


def status(
    url: Url = None,
    verify: Annotated[
        bool, typer.Option("--verify", metavar="", help="check it by using it; the exit code says go or roll back")
    ] = False,
    canary: Annotated[
        str, typer.Option("--canary", metavar="NAMESPACE", help="where --verify writes and removes its document")
    ] = "canary",
    as_json: Json = False,
) -> Work:
    """Look at everything at once: namespaces, owners, circuits, lag.

    With --verify this is the check after a deployment: a document is written, read back, changed and removed,
    owners are asked how they are, and what is stored is looked at as `verify --quick` does (not behind a gateway).

    Exit codes: 0 well, or go; 1 unhealthy, or roll back; 2 it could not be looked at.
    """

    def work() -> bool:
        from parquedb.cluster.cli.status import StatusCommand  # noqa: PLC0415 - imports Ray

        return StatusCommand(url, verify, canary, as_json).run()

    return work
