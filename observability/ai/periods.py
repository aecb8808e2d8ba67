"""Hours, days, ISO weeks and months of UTC, as the views count by them."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, get_args

from parquedb.errors import InvalidInputError

Granularity = Literal["hour", "day", "week", "month"]
GRANULARITIES: Final = get_args(Granularity)


def check_granularity(value: str) -> Granularity:
    """Return a granularity.

    Raises:
        InvalidInputError: there is no such one.
    """
    for known in GRANULARITIES:
        if value == known:
            return known  # type: ignore[no-any-return] # One of the literals.
    expected = " or ".join(map(repr, GRANULARITIES))
    raise InvalidInputError(
        f"granularity: expected {expected}, got {value!r}", field="granularity", expected=expected, actual=value
    )


def period_start(at: datetime, granularity: Granularity) -> datetime:
    """Return the start of the period that holds a time; both are UTC. A week begins on Monday, as in ISO 8601."""
    return _start(at.year, at.month, at.day, at.hour, granularity)


@lru_cache(4_096)
def _start(year: int, month: int, day: int, hour: int, granularity: Granularity) -> datetime:
    midnight = datetime(year, month, day, tzinfo=UTC)
    if granularity == "hour":
        return midnight.replace(hour=hour)
    if granularity == "week":
        return midnight - timedelta(days=midnight.weekday())
    return midnight.replace(day=1) if granularity == "month" else midnight


def period_name(start: datetime, granularity: Granularity) -> str:
    """Return a period as people write it: `2026-11-26T13`, `2026-11-26`, `2026-W48`, `2026-11`."""
    if granularity == "week":
        year, week, _ = start.isocalendar()
        return f"{year}-W{week:02d}"
    return start.strftime({"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[granularity])


def utc(moment: datetime | date | str, name: str) -> datetime:
    """Return a moment in UTC: naive times are UTC, a day is its midnight, texts are read as ISO 8601.

    Raises:
        InvalidInputError: not a moment.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise InvalidInputError(f"{name}: expected a day or a time, got {moment!r}", field=name) from error
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if isinstance(moment, date):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    raise InvalidInputError(f"{name}: expected a day or a time, got a {type(moment).__name__}", field=name)
