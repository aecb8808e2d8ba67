"""`parquedb compact`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, Namespaces, Url
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb compact ./data", "parquedb compact s3://bucket/prefix orders --timeout 3600")


def compact(
    url: Url = None,
    namespaces: Namespaces = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="for each; its owner goes on all the same")
    ] = 600.0,
    as_json: Json = False,
) -> Work:
    """Merge data files until there are as few as useful.

    Owners do the same by themselves when it pays. Reads and writes go on meanwhile.
    """

    def work() -> bool:
        from parquedb.cluster.cli.compact import CompactCommand  # noqa: PLC0415 - imports Ray

        return CompactCommand(url, namespaces or (), timeout_s, as_json).run()

    return work
