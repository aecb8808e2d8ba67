"""`parquedb restore`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, archive, place
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = (
    "parquedb restore s3://backups/orders ./restored",
    "parquedb restore ./copies ./data orders --as orders-in-march --point 202603",
    "parquedb restore ./copies s3://bucket/new orders --point 20261126t0300",
)


def restore(  # noqa: PLR0913, PLR0917 - the command line
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="where backups lie: a directory, or s3://bucket/prefix", callback=archive
        ),
    ],
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="where the database shall be: an empty directory or s3://bucket/prefix; -: what PARQUEDB_URL says",
            callback=place,
        ),
    ],
    namespaces: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAMESPACE", help="which ones (default: all of the point)", show_default=False),
    ] = None,
    point: Annotated[str, typer.Option(metavar="POINT", help="its name or the beginning of it")] = "latest",
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="the one namespace that is restored gets this name")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="objects on their way at a time (default: 8)")
    ] = None,
    as_json: Json = False,
) -> Work:
    """Make a database of a backup, where there is none.

    Overwrites nothing. Nobody can open it before it is whole; one that was broken off goes on when it is run again.
    Needs no Ray. Exit codes: 0 done, 2 it could not be done.
    """

    def work() -> bool:
        from parquedb.cluster.cli.backup import RestoreCommand  # noqa: PLC0415 - imports PyArrow

        return RestoreCommand.of(source, url, namespaces or (), point, as_name, parallel, as_json=as_json).run()

    return work
