"""`parquedb demo`, as it is typed."""

from pathlib import Path
from typing import Annotated, Final

import typer

from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb demo", "parquedb demo --flights 20000 --directory ./demo")


def demo(
    directory: Annotated[
        Path | None,
        typer.Option("--directory", metavar="DIR", help="put the database here and keep it (must be empty)"),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", metavar="", help="keep the temporary directory and say where it is")
    ] = False,
    flights: Annotated[
        int | None, typer.Option("--flights", metavar="N", min=1, help="import only the first N flights (default: all)")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="tell it on standard error, and print one JSON object at the end")
    ] = False,
) -> Work:
    """Import real data, then survive a conflict, a kill and an outage.

    Puts the database's promises to the test, one after the other, each with its proof. Runs on this machine, needs no
    network, leaves nothing behind.
    """

    def work() -> bool:
        from parquedb.cluster.cli.demo import Demo  # noqa: PLC0415 - imports Ray

        return Demo.prepared(directory, keep=keep, flights=flights, as_json=as_json).run()

    return work
