"""`parquedb import`, as it is typed."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from parquedb.cluster.cli.options import Json, Namespace, RequiredUrl
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = (
    "parquedb import ./data orders orders.csv --id order_no",
    "parquedb import - events 2026-*.ndjson.gz --refused-max 10",
)


def import_(  # noqa: PLR0913, PLR0917 - one for each option
    url: RequiredUrl,
    namespace: Namespace,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help=".csv .ndjson .jsonl (these also .gz, .zst) .parquet .arrow")
    ],
    format_: Annotated[
        Literal["csv", "ndjson", "parquet", "arrow"] | None,
        typer.Option("--format", help="whatever their names"),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", metavar="FIELD", help="field that holds the ids (default: $id, else they are made)"),
    ] = None,
    refused_max: Annotated[
        int, typer.Option("--refused-max", metavar="N", min=0, help="exit with 0 where no more rows are refused")
    ] = 0,
    on_error: Annotated[
        Literal["skip", "stop"],
        typer.Option("--on-error", help="skip leaves rows that are refused out, stop ends at the first, exit code 2"),
    ] = "skip",
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", metavar="SIGN", help="CSV: between cells (default: a comma)")
    ] = None,
    null: Annotated[
        list[str] | None, typer.Option("--null", metavar="TEXT", help="CSV: cells that mean no value; repeatable")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="FIELD=TYPE", help="CSV: such as zip=string, price=decimal; repeatable"),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="CSV: of the text (default: utf-8)")
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="repeated with the same one, nothing is stored twice"),
    ] = None,
    as_json: Json = False,
) -> Work:
    """Store the rows of files as new documents.

    A row that is refused (an id that is taken, a value that the schema does not allow) is left out and told of with
    its line.

    Exit codes: 0 all rows are stored, 1 some were refused, more than --refused-max, 2 it could not be done; what
    was stored before stays.
    """
    options: dict[str, Any] = {
        "id_column": id_,
        "on_error": on_error,
        # What a shell makes of '\t' are two characters.
        "delimiter": "\t" if delimiter == r"\t" else delimiter,
        "null_values": null or None,
        "types": _types_of(types or ()),
        "encoding": encoding,
        "request_id": request_id,
    }

    def work() -> bool:
        from parquedb.cluster.cli.importing import ImportCommand  # noqa: PLC0415 - imports Ray

        given = {name: value for name, value in options.items() if value is not None}
        return ImportCommand(url, namespace, files, format_, given, refused_max, as_json).run()

    return work


def _types_of(given: list[str] | tuple[str, ...]) -> dict[str, str] | None:
    types: dict[str, str] = {}
    for one in given:
        name, equals, kind = one.rpartition("=")
        if not equals or not name:
            raise typer.BadParameter(f"expected FIELD=TYPE, such as zip=string; got {one!r}", param_hint="--type")
        types[name] = kind
    return types or None
