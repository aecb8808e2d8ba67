"""Read the command line and hand over to the sub-command; each lives in a module of its own."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from parquedb import __version__
from parquedb.cluster.cli.keys_options import describe_keys
from parquedb.cluster.cli.serve_options import describe_serve
from parquedb.errors import ParqueDBError

OK, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
_ANSWERING = {"verify", "logs"}
"""Sub-commands of which `FAILED` is an answer."""


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

    verify = commands.add_parser(
        "verify",
        help="check everything that is stored, and change nothing",
        description="Check everything that is stored: checksums, the log, every page and document, and whether they "
        "tell the same story. Changes nothing, needs no Ray, and may run beside owners at work. Exit codes: 0 nothing "
        "is broken, 1 something is, 2 it could not be looked at.",
    )
    verify.add_argument(
        "url", nargs="?", metavar="URL", help="a directory or s3://bucket/prefix (default: PARQUEDB_URL)"
    )
    verify.add_argument("namespaces", nargs="*", metavar="NAMESPACE", help="which ones (default: all)")
    verify.add_argument("--quick", action="store_true", help="log, manifest, existence, sizes and footers only")
    verify.add_argument("--json", action="store_true", help="print the whole report as JSON")
    _describe_logs(commands)
    _describe_usage(commands)
    describe_serve(commands)
    describe_keys(commands)
    return top


def _describe_logs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    logs = commands.add_parser(
        "logs",
        help="search, follow or count what processes have stored of their logs",
        description="Show the newest rows that pass all filters, oldest first. Reads storage only and needs no Ray. "
        "Exit codes: 0 there are rows, 1 none passes, 2 it could not be looked at.",
    )
    logs.add_argument("url", nargs="?", metavar="URL", help="of the logs (default: PARQUEDB_WORKER_LOGS)")
    logs.add_argument(
        "--level",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        help="this level or a more severe one",
    )
    logs.add_argument("--since", metavar="TIME", help="events from then on: an age (15m, 2h, 3d) or a time, UTC")
    logs.add_argument("--until", metavar="TIME", help="events before then")
    logs.add_argument("--script", metavar="NAME", help="of this program; owners are parquedb-owner")
    logs.add_argument("--namespace", metavar="NAME", help="about this namespace")
    logs.add_argument("--request-id", metavar="ID", help="of this request")
    logs.add_argument("--trace-id", metavar="ID", help="of this trace")
    logs.add_argument("--outcome", metavar="NAME", help="such as ok or exception")
    logs.add_argument("--grep", metavar="REGEX", help="found in the message or the exception")
    logs.add_argument("--limit", type=positive, metavar="N", help="rows at most (default: 100, with --follow 10)")
    logs.add_argument("-f", "--follow", action="store_true", help="then go on with rows as they are stored")
    logs.add_argument("--stats", action="store_true", help="count instead, by level, outcome, script and exception")
    logs.add_argument("--stacks", action="store_true", help="show where exceptions came from")
    logs.add_argument("--json", action="store_true", help="print a JSON object for each row")


def _describe_usage(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    usage = commands.add_parser(
        "usage",
        help="what requests to AI models came to: cost, tokens, errors, latency",
        description="Bring the view of AI usage up to date and show it, of all tenants unless one is named.",
    )
    usage.add_argument(
        "url", nargs="?", metavar="URL", help="a directory or s3://bucket/prefix (default: PARQUEDB_URL)"
    )
    usage.add_argument("--by", dest="granularity", choices=("hour", "day", "week", "month"), default="day")
    usage.add_argument("--from", dest="since", metavar="DAY", help="first day or time, UTC (default: all)")
    usage.add_argument("--to", dest="until", metavar="DAY", help="last one, exclusive")
    usage.add_argument("--tenant", metavar="NAME", help="this tenant's requests only")
    usage.add_argument("--prices", type=Path, metavar="FILE", help="JSON with prices of your own")
    usage.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts instead")
    usage.add_argument("--json", action="store_true", help="print JSON")
    usage.add_argument("--full", action="store_true", help="count everything anew")


def positive(text: str) -> int:
    """Parse a count of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)  # argparse words the refusal.
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0 done, 1 failed (the reason is on stderr), 2 a wrong command line, 130 interrupted. Where 1 is
        an answer (`verify` has found damage, `logs` no row), 2 also means that there is none.
    """
    options = parser().parse_args(arguments)
    try:
        code = OK if _run(options) else FAILED
        sys.stdout.flush()
    except ParqueDBError as error:
        print(f"parquedb: {error.code.value}: {error}", file=sys.stderr)
        return UNUSABLE if options.command in _ANSWERING else FAILED
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`); what is left in the buffer must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print("parquedb: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _run(options: argparse.Namespace) -> bool:
    """Run a sub-command; return whether all is well."""
    # Imported here: `--help` should not wait for Ray and PyArrow.
    if os.environ.get("PARQUEDB_LOG_LEVEL") or os.environ.get("PARQUEDB_LOG_FORMAT"):
        from parquedb.observability.logs.configuration import configure_logging  # noqa: PLC0415

        configure_logging()
    if options.command == "verify":
        from parquedb.cluster.cli.verify import Verification  # noqa: PLC0415

        return Verification.from_options(options).run()
    if options.command == "logs":
        from parquedb.cluster.cli.logs import LogsCommand  # noqa: PLC0415

        return LogsCommand.from_options(options).run()
    if options.command == "usage":
        from parquedb.cluster.cli.usage import UsageCommand  # noqa: PLC0415

        return UsageCommand.from_options(options).run()
    if options.command == "serve":
        from parquedb.cluster.cli.serve import ServeCommand  # noqa: PLC0415

        return ServeCommand(options).run()
    if options.command == "keys":
        from parquedb.cluster.cli.keys import KeysCommand  # noqa: PLC0415

        return KeysCommand(options).run()
    from parquedb.cluster.cli.demo import Demo  # noqa: PLC0415

    return Demo.from_options(options).run()
