"""`parquedb export`, as it is typed."""

from typing import Annotated, Any, Final, Literal

import typer

from parquedb.cluster.cli.options import Namespace, RequiredUrl
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = (
    "parquedb export ./data orders orders.parquet",
    """parquedb export - orders - --format csv --filter '{"city": "Bern"}'""",
)


def export(  # noqa: PLR0913, PLR0917 - one for each option
    url: RequiredUrl,
    namespace: Namespace,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=".csv .ndjson .jsonl (these also .gz, .zst) .parquet; - is stdout")
    ],
    format_: Annotated[
        Literal["csv", "ndjson", "parquet"] | None,
        typer.Option("--format", help="whatever the name of the file (default for stdout: ndjson)"),
    ] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="FILTER", help="which documents, as JSON (default: all)")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option("--fields", metavar="FIELDS", help="such as city,customer.name, or a projection as JSON"),
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="FIELDS", help="such as city,-total (default: as they are stored)")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="MOMENT", help="a past state: a seq, an age (15m, 2h) or a time, UTC"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="replace a file of this name")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="say as JSON what was written to the file; errors as well")
    ] = False,
) -> Work:
    """Write documents to a file, all as of one moment.

    The file appears when it is complete; standard output begins then. Soft-deleted documents are left out.
    """
    options: dict[str, Any] = {
        "format": format_,
        "filter": filter_,
        "fields": fields,
        "sort": sort,
        "as_of": as_of,
        "overwrite": overwrite,
        "as_json": as_json,
    }

    def work() -> bool:
        from parquedb.cluster.cli.exporting import ExportCommand  # noqa: PLC0415 - imports Ray

        return ExportCommand(url, namespace, file, **options).run()

    return work
