"""How far something is: bars on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from parquedb.cluster.cli.terminal import notices
from parquedb.cluster.cli.wording import one_line

_BAR: Final = 20
_NAME_MAX: Final = 28
"""Cells of a bar and of the longest name beside it: the numbers have to fit too."""

EVERY_S: Final = 10.0
"""Seconds between lines where there is no terminal; what is over sooner prints none."""


@dataclass
class Meter:
    """Shows how far each of some things is; a context manager.

    Attributes:
        screen: Where it shows that.
        clock: Seconds that only grow.
    """

    screen: Console = field(default_factory=notices)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR),
            TaskProgressColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=self.screen,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._due_s = self.clock() + EVERY_S

    def __enter__(self) -> Self:
        if self.screen.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.screen.is_terminal:
            self._bars.stop()

    def show(self, name: str, done: float, total: float | None, said: str = "") -> None:
        """Show how far one thing is.

        Args:
            name: Which.
            done: How much of it is done.
            total: How much there is; None where nobody knows.
            said: What else there is to say of it.
        """
        if self.screen.is_terminal:
            if name not in self._tasks:
                shown = one_line(name)
                if len(shown) > _NAME_MAX:
                    shown = "…" + shown[1 - _NAME_MAX :]
                self._tasks[name] = self._bars.add_task(escape(shown), total=total, said="")
            self._bars.update(self._tasks[name], completed=done, total=total, said=escape(said))
        elif self.clock() >= self._due_s:
            self._due_s = self.clock() + EVERY_S
            part = f"{done / total:.0%}" if total else ""
            line = ", ".join(each for each in (part, said) if each)
            self.screen.print(escape(f"{one_line(name)}: {line}"))
