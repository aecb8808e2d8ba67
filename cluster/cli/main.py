"""Run the command: read its line, do the work, and turn whatever happens into an exit code and a word on stderr."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final

import typer

from parquedb.cluster.cli.application import application
from parquedb.cluster.cli.work import Work
from parquedb.errors import InternalError, InvalidInputError, ParqueDBError

OK: Final = 0
FAILED: Final = 1
"""The work was done, and the answer is "no"."""

UNUSABLE: Final = 2
"""The work could not be done, or the command line is wrong."""

INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; errors go to standard error, as `parquedb: CODE: message` or, with `--json`, as one JSON object.

    Args:
        arguments: The command line; that of the process when None.

    Returns:
        The exit code: 0 good; 1 the answer is "no" (unhealthy, damaged, not a row); 2 it could not be done or the
        command line is wrong; 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    return ended(lambda: read(words), as_json="--json" in words)


def ended(reading: Callable[[], Work | int], *, as_json: bool = False) -> int:
    """Read a command line and do what it says; return the exit code, whatever happens.

    Args:
        reading: Returns what `read` does.
        as_json: Whether errors are told as JSON.
    """
    try:
        work = reading()
        code = work if isinstance(work, int) else _done(work)
        sys.stdout.flush()
    except typer.TyperException as error:
        _tell_usage(error, as_json=as_json)
        return UNUSABLE
    except ParqueDBError as error:
        tell(error, as_json=as_json)
        return UNUSABLE
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`); what is left in the buffer must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNUSABLE
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:  # noqa: BLE001 - Python's own exit code would say "the answer is no"
        traceback.print_exc()
        tell(InternalError(f"{type(error).__name__}: {error}"), as_json=as_json)
        return UNUSABLE
    # Ctrl-C while the line is read: typer makes a code of it.
    return _interrupted() if code == INTERRUPTED else code


def read(words: Sequence[str]) -> Work | int:
    """Read a command line; return the work to do, or the exit code where help or the like was all that was asked.

    Raises:
        typer.TyperException: the command line is wrong.
    """
    found: Work | int = typer.main.get_command(application())(words, prog_name="parquedb", standalone_mode=False)
    return found


def tell(error: ParqueDBError, *, as_json: bool = False) -> None:
    """Print an error on standard error."""
    if as_json:
        print(json.dumps(error.to_json(), ensure_ascii=False), file=sys.stderr)
    else:
        print(f"parquedb: {error.code.value}: {error.message}", file=sys.stderr)


def _done(work: Work) -> int:
    if os.environ.get("PARQUEDB_LOG_LEVEL") or os.environ.get("PARQUEDB_LOG_FORMAT"):
        from parquedb.observability.logs.configuration import configure_logging  # noqa: PLC0415 - help needs none

        configure_logging()
    return OK if work() else FAILED


def _tell_usage(error: typer.TyperException, *, as_json: bool) -> None:
    said, context = error.format_message(), getattr(error, "ctx", None)
    tell(InvalidInputError(said), as_json=as_json)
    if context is not None and not as_json:
        usage = context.get_usage().replace("Usage:", "usage:")
        print(f"{usage}\n`{context.command_path} --help` says more", file=sys.stderr)


def _interrupted() -> int:
    print("parquedb: interrupted", file=sys.stderr)
    return INTERRUPTED
