"""The `parquedb` command as a typer application: every sub-command, in the order in which help lists them.

To add one: a module of `commands/` with a function that reads its options and returns its work, `EXAMPLES` for the end
of its help, and a line below. What the work needs is imported when it runs, never at the top of that module.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Final

import typer

from parquedb import __version__
from parquedb.cluster.cli.commands import (
    compact,
    demo,
    export,
    health,
    import_,
    keys,
    logs,
    metrics,
    namespaces,
    query,
    serve,
    status,
    usage,
    verify,
)
from parquedb.cluster.cli.work import Work

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}

_SUB_COMMANDS: Final[tuple[tuple[str, Callable[..., Work], tuple[str, ...]], ...]] = (
    ("demo", demo.demo, demo.EXAMPLES),
    ("serve", serve.serve, serve.EXAMPLES),
    ("status", status.status, status.EXAMPLES),
    ("health", health.health, health.EXAMPLES),
    ("verify", verify.verify, verify.EXAMPLES),
    ("query", query.query, query.EXAMPLES),
    ("import", import_.import_, import_.EXAMPLES),
    ("export", export.export, export.EXAMPLES),
    ("namespaces", namespaces.namespaces, namespaces.EXAMPLES),
    ("compact", compact.compact, compact.EXAMPLES),
    ("metrics", metrics.metrics, metrics.EXAMPLES),
    ("logs", logs.logs, logs.EXAMPLES),
    ("usage", usage.usage, usage.EXAMPLES),
)


def application() -> typer.Typer:
    """Make the application. Running it reads the command line and returns the work; see `work.py`."""
    made = typer.Typer(
        name="parquedb", context_settings=SETTINGS, rich_markup_mode="rich", pretty_exceptions_enable=False
    )
    made.callback()(parquedb)
    for name, command, examples in _SUB_COMMANDS:
        made.command(name, help=_paragraphs(command.__doc__), epilog=_epilog(examples))(command)
    made.add_typer(_keys())
    return made


def _keys() -> typer.Typer:
    made = typer.Typer(name="keys", context_settings=SETTINGS, help=_paragraphs(keys.HELP))
    actions: dict[str, Callable[..., Work]] = {
        "issue": keys.issue,
        "list": keys.list_,
        "rotate": keys.rotate,
        "revoke": keys.revoke,
    }
    for name, command in actions.items():
        made.command(name, help=_paragraphs(command.__doc__), epilog=_epilog([keys.EXAMPLES[name]]))(command)
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"parquedb {__version__}")
        raise typer.Exit


def parquedb(
    version: Annotated[
        bool, typer.Option("--version", metavar="", is_eager=True, callback=_print_version, help="print the version")
    ] = False,
) -> None:
    """A document database that lives in your bucket."""


def _paragraphs(text: str | None) -> str:
    """Return a docstring as paragraphs of one line each: the width of a terminal decides where they break."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _epilog(examples: Iterable[str]) -> str:
    # An empty line between them: typer joins the lines of a paragraph. Brackets would be taken for markup.
    lines = "\n\n".join(example.replace("[", r"\[") for example in examples)
    return f"For example:\n\n{lines}"
