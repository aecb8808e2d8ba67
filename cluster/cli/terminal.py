"""Where the command prints: a rich console that leaves a closed pipe to the command as a whole."""

import sys
from typing import Final, NoReturn

from rich.console import Console

UNLIMITED: Final = 1 << 30
"""Cells of a line where there is no terminal: nothing is wrapped, and tables are as wide as what is in them."""


class Terminal(Console):
    """A console; `NO_COLOR` and what is no terminal get no colours."""

    def on_broken_pipe(self) -> NoReturn:
        """Let `main` decide: rich would end the process, with the exit code that means "the answer is no"."""
        raise BrokenPipeError


def output() -> Terminal:
    """Return the console of standard output, for what was asked for; long lines are left to the terminal."""
    made = Terminal(file=sys.stdout, soft_wrap=True, highlight=False)
    if not sys.stdout.isatty():
        # Whatever COLUMNS and FORCE_COLOR say: a program reads it, or somebody who scrolls.
        made.width = UNLIMITED
    return made


def notices() -> Terminal:
    """Return the console of standard error: progress, and what else is not the answer."""
    return Terminal(file=sys.stderr, soft_wrap=True, highlight=False)


def page_width(screen: Console) -> int | None:
    """Return how many cells a line has; None where nobody reads it on a screen, and nothing need be cut off."""
    return screen.width if screen.is_terminal and screen.width < UNLIMITED else None
