"""Numbers, times and strangers' texts as the command prints them."""

from typing import Final

MICROSECOND: Final = 1e-6
MILLISECOND: Final = 1e-3
MINUTE: Final = 60

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_STEP: Final = 1000


def duration(seconds: float) -> str:
    """Word a duration with the unit a reader would choose."""
    if seconds < MILLISECOND:
        return f"{seconds / MICROSECOND:.0f} µs"
    if seconds < 1:
        return f"{seconds / MILLISECOND:.1f} ms"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """Word a number of bytes with the unit a reader would choose."""
    number, unit = float(count), 0
    while number >= _STEP and unit < len(_UNITS) - 1:
        number, unit = number / _STEP, unit + 1
    return f"{number:.0f} {_UNITS[unit]}" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"


def counted(number: int, what: str) -> str:
    """Word a number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def clean(text: str, *, kept: str = "\n\t") -> str:
    """Return a text without what a terminal would obey, or `kept`: documents and logs hold what strangers sent."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in kept else ascii(sign)[1:-1] for sign in text)


def one_line(text: str) -> str:
    """Return a text as `clean` does, line breaks and tabs spelled out as well."""
    return clean(text, kept="")
