"""`parquedb backup`, as it is typed."""

from typing import Annotated, Final

import typer

from parquedb.cluster.cli.options import Json, StoredUrl, archive
from parquedb.cluster.cli.work import Work

EXAMPLES: Final = (
    "parquedb backup ./data s3://backups/orders --keep 30",
    "parquedb backup s3://bucket/prefix ./copies orders invoices",
    "parquedb backup --list s3://backups/orders",
    "parquedb backup --verify s3://backups/orders",
)


def backup(  # noqa: PLR0913, PLR0917 - the command line
    url: StoredUrl = None,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET", help="where backups lie: a directory, or s3://bucket/prefix", callback=archive
        ),
    ] = None,
    namespaces: Annotated[
        list[str] | None, typer.Argument(metavar="NAMESPACE", help="which ones (default: all)", show_default=False)
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="then remove older points but N of each namespace (default: all stay)"),
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="objects on their way at a time (default: 8)")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", metavar="", help="show the points of TARGET, the only argument then")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", metavar="", help="read all of TARGET, the only argument then, and compare")
    ] = False,
    point: Annotated[str | None, typer.Option(metavar="POINT", help="with --verify: this point only")] = None,
    as_json: Json = False,
) -> Work:
    """Copy a database as it is now, beside owners at work.

    Every namespace is copied as of one moment. What an earlier backup has copied to the same target is not copied
    again, and its points stay. Needs no Ray. Exit codes: 0 done, 1 --verify has found damage, 2 it could not be done.
    """
    if list_ and verify:
        raise typer.BadParameter("--list and --verify exclude each other")
    if point is not None and not verify:
        raise typer.BadParameter(
            "--point goes with --verify; to restore one: parquedb restore TARGET URL --point POINT"
        )
    if list_ or verify:
        if keep is not None:
            raise typer.BadParameter("--keep removes points after a backup; --list and --verify change nothing")
        if url is None or target is not None:
            raise typer.BadParameter(f"{'--list' if list_ else '--verify'} takes one argument, where the backups lie")
        where = url

        def look() -> bool:
            from parquedb.cluster.cli.backup import BackupLook  # noqa: PLC0415 - imports PyArrow

            made = BackupLook.of(where, point, parallel, as_json=as_json)
            return made.list() if list_ else made.verify()

        return look
    if target is None:
        raise typer.BadParameter("expected URL and TARGET: what to copy, and where to (- is what PARQUEDB_URL says)")
    to = target

    def work() -> bool:
        from parquedb.cluster.cli.backup import BackupCommand  # noqa: PLC0415 - imports PyArrow

        return BackupCommand.of(url, to, namespaces or (), keep, parallel, as_json=as_json).run()

    return work
