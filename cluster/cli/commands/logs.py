"""`parquedb logs`, as it is typed."""

from typing import Annotated, Any, Final, Literal

import typer

from parquedb.cluster.cli.options import place
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = (
    "parquedb logs s3://logs/parquedb --level warning --since 2h",
    "parquedb logs --namespace orders --follow",
    "parquedb logs --stats --since 1d",
)


def logs(  # noqa: PLR0913, PLR0917 - one for each option
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="of the logs; - or nothing: what PARQUEDB_WORKER_LOGS says",
            callback=place,
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None,
        typer.Option("--level", case_sensitive=False, help="this level or a more severe one"),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="events from then on: an age (15m, 2h, 3d) or a time, UTC"),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="events before then")] = None,
    script: Annotated[
        str | None, typer.Option("--script", metavar="NAME", help="of this program; owners are parquedb-owner")
    ] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", metavar="NAME", help="about this namespace")] = None,
    request_id: Annotated[str | None, typer.Option("--request-id", metavar="ID", help="of this request")] = None,
    trace_id: Annotated[str | None, typer.Option("--trace-id", metavar="ID", help="of this trace")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", metavar="NAME", help="such as ok or exception")] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="REGEX", help="found in the message or the exception")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="rows at most (default: 100, with --follow 10)"),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", metavar="", help="then go on with rows as they are stored")
    ] = False,
    stats: Annotated[
        bool, typer.Option("--stats", metavar="", help="count instead, by level, outcome, script and exception")
    ] = False,
    stacks: Annotated[bool, typer.Option("--stacks", metavar="", help="show where exceptions came from")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="print a JSON object for each row; errors as well")
    ] = False,
) -> Work:
    """Search, follow or count what processes have stored of their logs.

    Shows the newest rows that pass all filters, oldest first. Reads storage only and needs no Ray.

    Exit codes: 0 there are rows, 1 none passes, 2 it could not be looked at.
    """
    equal = {
        "script": script,
        "namespace": namespace,
        "request_id": request_id,
        "trace_id": trace_id,
        "outcome": outcome,
    }
    options: dict[str, Any] = {
        "url": url,
        "equal": equal,
        "level": level,
        "grep": grep,
        "since": since,
        "until": until,
        "limit": limit,
        "follow": follow,
        "stats": stats,
        "stacks": stacks,
        "as_json": as_json,
    }

    def work() -> bool:
        from parquedb.cluster.cli.logs import LogsCommand, LogsOptions  # noqa: PLC0415 - imports PyArrow

        return LogsCommand.of(LogsOptions(**options)).run()

    return work
