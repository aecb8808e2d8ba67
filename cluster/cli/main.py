"""Run the command: read its line, do the work, and turn whatever happens into an exit code and a word on stderr."""

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final

import typer

from parquedb.cluster.cli.application import application
from parquedb.cluster.cli.work import Work
from parquedb.errors import InternalError, InvalidInputError, ParqueDBError, StorageError

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
    _prepare_streams()
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
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:
        _forget_output()
        # Whoever read the output has seen enough (`| head`); all else is a full disk, a file that may not be written.
        if not isinstance(error, BrokenPipeError):
            tell(StorageError(f"the system refused something: {str(error) or type(error).__name__}"), as_json=as_json)
        return UNUSABLE
    except Exception as error:  # noqa: BLE001 - Python's own exit code would say "the answer is no"
        traceback.print_exc()
        tell(InternalError(f"{type(error).__name__}: {error}"), as_json=as_json)
        return UNUSABLE
    # Ctrl-C while the line is read: typer makes a code of it.
    return _interrupted() if code == INTERRUPTED else code


def _prepare_streams() -> None:
    """Make output take every text, and be there: work that has been done must not end as a failure to tell of it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # Closed by the shell (`>&-`).
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            # What the terminal's encoding lacks is spelled out, as Python does on standard error.
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Let go of what standard output does not take: it must not complain again at exit."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def read(words: Sequence[str]) -> Work | int:
    """Read a command line; return the work to do, or the exit code where help or the like was all that was asked.

    Raises:
        typer.TyperException: the command line is wrong.
    """
    found: Work | int = typer.main.get_command(application())(words, prog_name="parquedb", standalone_mode=False)
    return found


def tell(error: ParqueDBError, *, as_json: bool = False) -> None:
    """Print an error on standard error."""
    _say(
        json.dumps(error.to_json(), ensure_ascii=False) if as_json else f"parquedb: {error.code.value}: {error.message}"
    )


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
        _say(f"{usage}\n`{context.command_path} --help` says more")


def _interrupted() -> int:
    _say("parquedb: interrupted")
    return INTERRUPTED


def _say(line: str) -> None:
    # Where nobody can be told, the exit code is still heard.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
