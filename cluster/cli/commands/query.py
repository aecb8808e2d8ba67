"""`parquedb query`, as it is typed."""

from typing import Annotated, Any, Final

import typer

from parquedb.cluster.cli.options import Namespace, RequiredUrl
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = (
    """parquedb query ./data orders '{"total": {"$gte": 100}}' --sort -total""",
    "parquedb query https://db.example.com orders --json --limit 0",
    """parquedb query - orders '{"at": {"$gte": {"$date": "2026-03-01"}}}' --count""",
)


def query(  # noqa: PLR0913, PLR0917 - one for each option
    url: RequiredUrl,
    namespace: Namespace,
    filter_: Annotated[
        str | None,
        typer.Argument(metavar="FILTER", help="which documents, as JSON (default: all)", show_default=False),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="FIELDS", help="such as city,-total; a minus sorts downward (default: $id)"),
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option("--fields", metavar="FIELDS", help="such as city,customer.name, or a projection as JSON"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="documents at most; 0 for all")] = 100,
    skip: Annotated[int, typer.Option("--skip", metavar="N", min=0, help="leave out the first N")] = 0,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="MOMENT", help="a past state: a seq, an age (15m, 2h) or a time, UTC"),
    ] = None,
    deleted: Annotated[
        bool, typer.Option("--include-deleted", metavar="", help="see soft-deleted documents as well")
    ] = False,
    total: Annotated[bool, typer.Option("--total", metavar="", help="say how many match as well")] = False,
    count: Annotated[bool, typer.Option("--count", metavar="", help="print how many match, nothing else")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", metavar="", help="run it, and print what was looked at and what was skipped")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="print each document as a line of Extended JSON; errors as well")
    ] = False,
) -> Work:
    """Find documents, and print them as a table or as lines of JSON.

    A table shows as many fields as the terminal is wide. Lines of JSON hold everything, with types: dates are
    {"$date": ...}, as from the gateway.

    Exit codes: 0 there are documents, 1 none matches, 2 the query is not understood or cannot be answered.
    """
    asked: dict[str, Any] = {
        "filter": filter_,
        "sort": sort,
        "fields": fields,
        "limit": limit,
        "skip": skip,
        "as_of": as_of,
        "deleted": deleted,
        "total": total,
    }
    if count and (explain or sort or fields or skip or total):
        raise typer.BadParameter("--count is a number: it goes with FILTER, --as-of and --include-deleted only")

    def work() -> bool:
        from parquedb.cluster.cli.query import Asked, QueryCommand  # noqa: PLC0415 - imports Ray

        command = QueryCommand(url, namespace, Asked(**asked), as_json)
        return command.count() if count else command.explain() if explain else command.run()

    return work
