"""`parquedb metrics`, as it is typed."""

from typing import Annotated, Final, Literal

import typer

from parquedb.cluster.cli.options import Json, Url
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb metrics ./data --watch", "parquedb metrics https://db.example.com --prometheus")


def metrics(  # noqa: PLR0913, PLR0917 - one for each option
    url: Url = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", metavar="", help="print the text that Prometheus scrapes")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", metavar="", help="look again and again, until Ctrl-C")] = False,
    every_s: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, help="with --watch: between two looks")
    ] = 2.0,
    side: Annotated[
        Literal["actor", "client"],
        typer.Option("--side", help="calls as owners have seen them, or as the gateway has as their client"),
    ] = "actor",
    as_json: Json = False,
) -> Work:
    """Show what owners have counted: calls, times, failures, queues.

    Owners are asked where they run: in a Ray of this machine, in the cluster of PARQUEDB_RAY_ADDRESS, or behind a
    gateway. Starts none.

    Exit codes: 0 something was counted, 1 nothing was, 2 nobody could be asked.
    """
    if prometheus and as_json:
        raise typer.BadParameter("--prometheus and --json are two forms of the same: choose one")

    def work() -> bool:
        from parquedb.cluster.cli.metrics import MetricsCommand  # noqa: PLC0415 - imports Ray

        return MetricsCommand(url, side, prometheus, every_s if watch else None, as_json).run()

    return work
