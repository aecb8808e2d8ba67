"""`parquedb namespaces`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, Url
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb namespaces ./data", "parquedb namespaces s3://bucket/prefix --sizes")


def namespaces(
    url: Url = None,
    sizes: Annotated[
        bool,
        typer.Option("--sizes", metavar="", help="and how large they are, from all listings and footers"),
    ] = False,
    as_json: Json = False,
) -> Work:
    """List the namespaces of a database.

    Reads storage only and needs no Ray.

    Exit codes: 0 there are some, 1 there is none, 2 it could not be looked at.
    """

    def work() -> bool:
        from parquedb.cluster.cli.namespaces import NamespacesCommand  # noqa: PLC0415 - imports PyArrow

        return NamespacesCommand(url, sizes, as_json).run()

    return work
