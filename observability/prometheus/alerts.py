"""The rules that come with the package, as they are or with their time running faster."""

import re
from importlib.resources import files
from typing import Final

_UNITS_S: Final = {"h": 3600, "m": 60, "s": 1}
_SPAN: Final = re.compile(r"(\[|\bfor: )(\d+)([hms])\b")
"""A window of a range vector, or how long a condition has to hold."""


def alerts_yaml(faster: int = 1) -> str:
    """Return the file of rules.

    Args:
        faster: By what the windows and each `for:` are divided, so that a drill need not wait for hours: thresholds
            and expressions stay those of production. 1 gives the rules as they are.

    Raises:
        ValueError: a window would be no whole number of seconds.
    """
    text = (files("parquedb.observability.prometheus") / "alerts.yml").read_text(encoding="utf-8")
    return _SPAN.sub(lambda found: found[1] + _shortened(int(found[2]) * _UNITS_S[found[3]], faster), text)


def _shortened(span_s: int, faster: int) -> str:
    if faster < 1 or span_s % faster:
        raise ValueError(f"{span_s} s cannot be divided by {faster}; expected a divisor, from 1")
    left_s = span_s // faster
    unit = next(unit for unit, seconds in _UNITS_S.items() if left_s % seconds == 0)
    return f"{left_s // _UNITS_S[unit]}{unit}"
