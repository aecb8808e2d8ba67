"""Read the command line and hand over to the sub-command; each lives in a module of its own."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from parquedb import __version__
from parquedb.errors import ParqueDBError

OK, FAILED, INTERRUPTED = 0, 1, 130


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="parquedb", description="A document database that lives in your bucket.")
    top.add_argument("--version", action="version", version=f"parquedb {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="import real data, then survive a conflict, a kill and an outage",
        description="Import a real data set, then put the database's promises to the test: a conflict, kill -9, "
        "a storage outage. Runs on this machine, needs no network, leaves nothing behind.",
    )
    demo.add_argument("--directory", type=Path, metavar="DIR", help="put the database here and keep it (must be empty)")
    demo.add_argument("--keep", action="store_true", help="keep the temporary directory and say where it is")
    demo.add_argument("--flights", type=positive, metavar="N", help="import only the first N flights (default: all)")
    return top


def positive(text: str) -> int:
    """Parse a count of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)  # argparse words the refusal.
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0 done, 1 failed (the reason is on stderr), 2 a wrong command line, 130 interrupted.
    """
    options = parser().parse_args(arguments)
    try:
        # Imported here: `--help` should not wait for Ray and PyArrow.
        from parquedb.cluster.cli.demo import Demo  # noqa: PLC0415

        return OK if Demo.from_options(options).run() else FAILED
    except ParqueDBError as error:
        print(f"parquedb: {error.code.value}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("parquedb: interrupted", file=sys.stderr)
        return INTERRUPTED
