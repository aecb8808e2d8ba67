"""Tables that fit the screen: with folded names where it is narrow, and as lines where it is too narrow for that."""

from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from parquedb.cluster.cli.terminal import UNLIMITED

NAME_LEAST: Final = 12
"""Cells below which a name is not folded: it would stand there letter by letter."""


class FittedTable(Table):
    """A table without lines that loses nothing on a narrow screen: the first column, which holds names, gives way.

    Where that is not enough, each row becomes some lines of a column's name and its value.

    Args:
        names: Of the columns; with a leading `>`, one of numbers.
        header_style: Of these names.
    """

    def __init__(self, *names: str, header_style: str = "bold") -> None:
        super().__init__(box=None, header_style=header_style, pad_edge=False)
        for name in names:
            self.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
        self.columns[0].no_wrap, self.columns[0].overflow = False, "fold"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it for so many cells; rich calls this."""
        first = self.columns[0]
        first.width = None  # It may be shown again, on a screen that has become wider.
        free = options.update(width=UNLIMITED)
        excess = Measurement.get(console, free, self).maximum - options.max_width
        if excess > 0:
            names = (Measurement.get(console, free, cell).maximum for cell in (first.header, *first.cells))
            first.width = max(*names, first.min_width or 0) - excess
            if first.width < NAME_LEAST:
                yield from self._lines()
                return
        yield from super().__rich_console__(console, options)

    def _lines(self) -> RenderResult:
        names = [_text(column.header) for column in self.columns]
        width = max(map(len, names))
        for number, cells in enumerate(zip(*(column.cells for column in self.columns), strict=True)):
            if number:
                yield Text("")
            for name, value in zip(names, map(_text, cells), strict=True):
                if value:
                    yield Text(f"{name.plain:<{width}}  ", style=self.header_style) + value


def _text(cell: RenderableType) -> Text:
    """Return a cell as text; what is no text, such as a bar, is a picture of what others say and left out."""
    if isinstance(cell, str):
        return Text.from_markup(cell)
    return cell if isinstance(cell, Text) else Text("")
