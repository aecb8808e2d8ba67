"""`parquedb usage`, as it is typed."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from parquedb.cluster.cli.options import Json, StoredUrl
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = (
    "parquedb usage ./data --by month --tenant acme",
    "parquedb usage - --from 2026-03-01 --html usage.html",
)


def usage(  # noqa: PLR0913, PLR0917 - one for each option
    url: StoredUrl = None,
    granularity: Annotated[
        Literal["hour", "day", "week", "month"], typer.Option("--by", help="length of a period")
    ] = "day",
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="first day or time, UTC (default: all)")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DAY", help="last one, exclusive")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="this tenant's requests only")] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="JSON with prices of your own")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write a page with charts instead")
    ] = None,
    as_json: Json = False,
    full: Annotated[bool, typer.Option("--full", metavar="", help="count everything anew")] = False,
) -> Work:
    """Show what requests to AI models came to: cost, tokens, errors, latency.

    Brings the view of AI usage up to date and shows it, of all tenants unless one is named.
    """

    def work() -> bool:
        from parquedb.cluster.cli.usage import UsageCommand  # noqa: PLC0415 - imports Ray

        return UsageCommand(url, granularity, since, until, tenant, prices, html, full, as_json).run()

    return work
