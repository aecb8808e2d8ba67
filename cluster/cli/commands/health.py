"""`parquedb health`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, Url
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = ("parquedb health ./data", "parquedb health https://db.example.com --strict --json")


def health(
    url: Url = None,
    strict: Annotated[bool, typer.Option("--strict", metavar="", help="degraded is not well either")] = False,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, help="for all owners together (default: 5)"),
    ] = None,
    as_json: Json = False,
) -> Work:
    """Ask every owner how it is.

    Owners are asked where they run: in a Ray of this machine, in the cluster of PARQUEDB_RAY_ADDRESS, or behind a
    gateway. Starts none.

    Exit codes: 0 healthy or degraded, 1 unhealthy, 2 nobody could be asked.
    """

    def work() -> bool:
        from parquedb.cluster.cli.health import HealthCommand  # noqa: PLC0415 - imports Ray

        return HealthCommand(url, strict, timeout_s, as_json).run()

    return work
