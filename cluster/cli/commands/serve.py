"""`parquedb serve`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import StoredUrl
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb serve ./data --port 8000", "parquedb serve - --host 0.0.0.0 --replicas 4")


def serve(  # noqa: PLR0913, PLR0917 - one for each option
    url: StoredUrl = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="port to listen on, 0 for any (default: 8000)")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", metavar="N", help="processes that answer (default: 1)")
    ] = None,
    single: Annotated[
        bool, typer.Option("--single", metavar="", help="answer in this one process, without Ray Serve")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="print one JSON object when it listens")] = False,
) -> Work:
    """Answer HTTP requests until Ctrl-C or SIGTERM.

    Every setting of a gateway is a variable PARQUEDB_GATEWAY__<NAME>; with PARQUEDB_ENVIRONMENT=production nobody is
    let in who has not said who he is.
    """

    def work() -> bool:
        from parquedb.cluster.cli.serve import ServeCommand  # noqa: PLC0415 - imports Ray

        options = {"host": host, "port": port, "replicas": replicas}
        return ServeCommand(url, options, single=single, as_json=as_json).run()

    return work
