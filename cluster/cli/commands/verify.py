"""`parquedb verify`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, Namespaces, StoredUrl
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb verify ./data", "parquedb verify s3://bucket/prefix orders --quick")


def verify(
    url: StoredUrl = None,
    namespaces: Namespaces = None,
    quick: Annotated[
        bool, typer.Option("--quick", metavar="", help="log, manifest, existence, sizes and footers only")
    ] = False,
    as_json: Json = False,
) -> Work:
    """Check everything that is stored, and change nothing.

    Checksums, the log, every page and document, and whether they tell the same story. Needs no Ray, and may run
    beside owners at work.

    Exit codes: 0 nothing is broken, 1 something is, 2 it could not be looked at.
    """

    def work() -> bool:
        from parquedb.cluster.cli.verify import Verification  # noqa: PLC0415 - imports PyArrow

        return Verification.of(url, namespaces or (), full=not quick, as_json=as_json).run()

    return work
