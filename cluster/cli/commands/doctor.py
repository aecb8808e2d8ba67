"""`parquedb doctor`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, Url
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb doctor ./data", "parquedb doctor s3://bucket/prefix --json", "parquedb doctor")


def doctor(
    url: Url = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.1, max=600, metavar="SECONDS", help="for each check")
    ] = 5.0,
    as_json: Json = False,
) -> Work:
    """Check this machine, its settings and the store of a database, and say how to mend what is wrong.

    Makes objects below ~probe/ in the store and removes them again. Every check has its own time, so this ends within
    a bounded one, whatever hangs. Exit codes: 0 nothing has failed, 1 something has.
    """

    def work() -> bool:
        from parquedb.cluster.cli.doctor import DoctorCommand  # noqa: PLC0415 - imports PyArrow

        return DoctorCommand(url, timeout_s, as_json).run()

    return work
