"""Where the command prints: a rich console that leaves a closed pipe to the command as a whole."""

import os
import sys
from typing import Final, NoReturn

from rich.console import Console

_NO_LIMIT: Final = 10_000
"""Cells of a line where there is no terminal: tables are then as wide as what is in them."""


class Terminal(Console):
    """A console; `NO_COLOR` and what is no terminal get no colours."""

    def on_broken_pipe(self) -> NoReturn:
        """Let `main` decide: rich would end the process, with the exit code that means "the answer is no"."""
        raise BrokenPipeError


def output(*, soft_wrap: bool = True) -> Terminal:
    """Return the console of standard output, for what was asked for.

    Args:
        soft_wrap: Whether long lines are left to the terminal, since programs read them too.
    """
    made = Terminal(file=sys.stdout, soft_wrap=soft_wrap, highlight=False)
    if page_width(made) is None:
        made.width = _NO_LIMIT
    return made


def notices() -> Terminal:
    """Return the console of standard error: progress, and what else is not the answer."""
    return Terminal(file=sys.stderr, soft_wrap=True, highlight=False)


def page_width(screen: Console) -> int | None:
    """Return how many cells a line has; None where nobody reads it on a screen, and nothing need be cut off."""
    return screen.width if screen.is_terminal or os.environ.get("COLUMNS") else None
