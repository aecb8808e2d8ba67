"""Points in time as they are typed."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from parquedb.errors import InvalidInputError

_AGE: Final = re.compile(r"(\d{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str | None, option: str, now: datetime) -> datetime | None:
    """Return the time that an option names: `15m` ago, or a day or time of ISO 8601, UTC where it does not say.

    Raises:
        InvalidInputError: it names none.
    """
    if text is None:
        return None
    try:
        if (age := _AGE.fullmatch(text)) is not None:
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        expected = "an age such as 30s, 15m, 2h, 3d or 1w, or a time such as 2026-11-26T12:00"
        raise InvalidInputError(f"{option}: expected {expected}; got {text!r}", field=option) from None
