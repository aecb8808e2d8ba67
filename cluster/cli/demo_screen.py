"""What the demo puts on the terminal: numbered sections, measured times, and proofs that are counted."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parquedb.cluster.cli.wording import duration

WIDTH_MAX = 100


def quantile(values: Sequence[float], fraction: float) -> float:
    """Return the nearest-rank quantile; `values` holds at least one."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(fraction * len(ranked)))]


def table(*columns: str) -> Table:
    """Start a table; a column named with a leading `>` is for numbers."""
    made = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return made


@dataclass
class Screen:
    """The terminal, and the tally of what was proved on it.

    Attributes:
        console: Where everything goes; it holds on to the standard output it was made with.
        held: Proofs that held (count).
        failed: The claims that did not.
    """

    console: Console = field(default_factory=lambda: Console(file=sys.stdout))
    held: int = 0
    failed: list[str] = field(default_factory=list)
    _sections: int = 0

    def __post_init__(self) -> None:
        # Long lines are hard to read on a wide terminal. Where there is none, nothing need be cut.
        self.console.width = min(self.console.width, WIDTH_MAX) if self.console.is_terminal else WIDTH_MAX

    def section(self, title: str) -> None:
        """Open the next numbered section."""
        self._sections += 1
        self.console.print()
        self.console.rule(Text(f"{self._sections}. {title}", style="bold cyan"), align="left", style="cyan")

    def say(self, text: str) -> None:
        """Print a sentence or two; rich markup is understood."""
        self.console.print(text, highlight=False, soft_wrap=not self.console.is_terminal)

    def show(self, thing: object) -> None:
        """Print a table, a tree or anything else rich can render."""
        self.console.print(thing)

    def prove(self, claim: str, held: bool) -> None:
        """Print a claim with its outcome and remember it."""
        if held:
            self.held += 1
        else:
            self.failed.append(claim)
        mark = Text("  ✔ ", style="bold green") if held else Text("  ✘ ", style="bold red")
        line = mark + Text(claim, style="" if held else "red")
        self.console.print(line, highlight=False, soft_wrap=not self.console.is_terminal)

    def conclude(self, elapsed_s: float) -> bool:
        """Print the tally.

        Returns:
            True when at least one proof was made and all held.
        """
        self.console.print()
        good = self.held > 0 and not self.failed
        if good:
            self.say(f"[bold green]All {self.held} proofs held[/], in {duration(elapsed_s)}.")
        else:
            self.say(f"[bold red]{len(self.failed)} of {self.held + len(self.failed)} proofs failed:[/]")
            for claim in self.failed:
                self.say(f"  [red]✘[/] {claim}")
        return good
