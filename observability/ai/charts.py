"""Charts as inline SVG: nothing to fetch, nothing to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

COLOURS: Final = (
    "#3b6fb6",
    "#e08a3c",
    "#4c9f70",
    "#b5495b",
    "#7a5ea8",
    "#8c7b6b",
    "#c9739f",
    "#5aa7b5",
    "#a3a93f",
    "#888888",
)

_WIDTH: Final = 960
_HEIGHT: Final = 300
_LEFT: Final = 70
_BOTTOM: Final = 40
_TOP: Final = 12
_LABELS_MAX: Final = 12
_LINES: Final = 4
_HUNDREDS: Final = 99.95
_BAR_MAX: Final = 60.0
_MANY: Final = 100
"""Bars that stand close together, for there is little room."""
_STEPS: Final = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)
"""Tops of a scale whose quarters are short numbers."""


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a stacked chart.

    Attributes:
        name: What the legend says.
        values: One for each bar, at least 0.
        colour: Place in `COLOURS`; the last one serves all that come after.
    """

    name: str
    values: Sequence[float]
    colour: int = 0

    @property
    def fill(self) -> str:
        """Its colour for CSS."""
        return COLOURS[min(self.colour, len(COLOURS) - 1)]


def stacked_bars(labels: Sequence[str], series: Sequence[Series], *, title: str, unit: str = "") -> str:
    """Return a chart with one bar for each label, in which the series are stacked, with a legend."""
    totals = [sum(one.values[place] for one in series) for place in range(len(labels))]
    top = nice_ceiling(max(totals, default=0.0))
    room, height = (_WIDTH - _LEFT) / max(1, len(labels)), _HEIGHT - _BOTTOM - _TOP
    wide = min(_BAR_MAX, room * (0.76 if len(labels) < _MANY else 0.9))
    parts = [_grid(top, height, unit)]
    for place, label in enumerate(labels):
        left, bottom = _LEFT + place * room + (room - wide) / 2, float(_TOP + height)
        for one in series:
            tall = one.values[place] / top * height
            if tall <= 0:
                continue
            bottom -= tall
            says = escape(f"{label}, {one.name}: {unit}{compact(one.values[place])}")
            parts.append(
                f'<rect x="{left:.1f}" y="{bottom:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
                f'fill="{one.fill}"><title>{says}</title></rect>'
            )
        if place % ceil(len(labels) / _LABELS_MAX) == 0:
            middle = left + wide / 2
            parts.append(
                f'<text x="{middle:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{escape(label)}</text>'
            )
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    legend = "".join(f'<li><i style="background:{one.fill}"></i>{escape(one.name)}</li>' for one in series)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="wide">{svg}</div>'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def compact(number: float) -> str:
    """Word a number of any size with few digits: 950, 1.5k, 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")):
        # What rounds to a thousand of something is one of the next larger; of the largest there may be thousands.
        if number >= size * 0.9995:
            amount = number / size
            return f"{amount:,.3g}{letter}" if amount < _HUNDREDS else f"{amount:,.0f}{letter}"
    return f"{number:.3g}"


def nice_ceiling(value: float) -> float:
    """Return the least of `_STEPS` times a power of ten that is not below a value; 1 for 0."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** floor(log10(value))
    return next((step * power for step in _STEPS if step * power >= value * (1 - 1e-9)), 10 * power)


def _grid(top: float, height: int, unit: str) -> str:
    parts = []
    for line in range(_LINES + 1):
        y = _TOP + height - line / _LINES * height
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{unit}{compact(top * line / _LINES)}</text>'
        )
    return "".join(parts)
