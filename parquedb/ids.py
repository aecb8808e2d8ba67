"""Ids: time-ordered ones for documents (ULID) and random tokens for names that must not collide."""

import random
import threading
from datetime import UTC, datetime
from typing import Final

from parquedb.clock import Clock

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_CHARS: Final = 26

_RANDOM_BITS: Final = 80
_TIME_BITS: Final = 48
_TAIL_BITS: Final = 20
_TAIL_CHARS: Final = 4
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Two characters a step: half the divisions of big integers.
_PAIRS: Final = tuple(first + second for first in ALPHABET for second in ALPHABET)


class UlidSource:
    """Makes ULIDs: 48 bits of Unix milliseconds, then 80 random bits, 26 characters of Crockford's base 32.

    They sort as text by the time they were made. Within one source each is greater than the one before, also within one
    millisecond and when the clock steps back: then the last one is counted up by one. Safe to share between threads.

    Source:
        ULID specification, https://github.com/ulid/spec, "Monotonicity". There the source fails when the random part
        is used up within a millisecond; here it carries into the time part.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._last = -1
        self._head = (-1, "")
        self._lock = threading.Lock()

    def next(self) -> str:
        """Return an id greater than every earlier one of this source."""
        now_ms = max(0, _milliseconds(self._clock.now()))
        with self._lock:
            if now_ms > self._last >> _RANDOM_BITS:
                self._last = (now_ms << _RANDOM_BITS) | self._rng.getrandbits(_RANDOM_BITS)
            else:
                self._last += 1
            return self._text(self._last)

    def take(self, count: int) -> list[str]:
        """Return `count` ids (at least 1), ascending; cheaper than asking for each."""
        first = self.next()
        with self._lock:
            start = self._last + 1
            self._last += count - 1
            return [first, *map(self._text, range(start, start + count - 1))]

    def _text(self, value: int) -> str:
        high = value >> _TAIL_BITS
        if high != self._head[0]:
            self._head = (high, _encode(high << _TAIL_BITS)[:-_TAIL_CHARS])
        # Ids made in one millisecond share all but the last characters.
        return self._head[1] + _PAIRS[value >> 10 & 1023] + _PAIRS[value & 1023]


def ulid_time(ulid: str) -> datetime:
    """Return when a ULID was made, UTC-aware, to the millisecond.

    Raises:
        ValueError: `ulid` is not a ULID; lower case is accepted.
    """
    text = ulid.upper()
    # The first character holds the top three of 128 bits.
    if len(text) != ULID_CHARS or text[0] > "7" or not set(text) <= set(ALPHABET):
        raise ValueError(f"expected a ULID of {ULID_CHARS} characters, got {ulid[:64]!r}")
    time_ms = 0
    for char in text[: _TIME_BITS // 5 + 1]:
        time_ms = time_ms * 32 + ALPHABET.index(char)
    try:
        return datetime.fromtimestamp(time_ms // 1000, UTC).replace(microsecond=time_ms % 1000 * 1000)
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"expected a ULID of a time before the year 10000, got {ulid!r}") from None


def random_token(chars: int, rng: random.Random | None = None) -> str:
    """Return `chars` random characters of 0-9 and a-z without i, l, o, u: 5 bits each, fit for a storage key.

    Args:
        chars: At least 1; 26 characters never collide in practice.
        rng: The system's secure source when None.

    Raises:
        ValueError: `chars` is below 1.
    """
    if chars < 1:
        raise ValueError(f"expected at least 1 character, got {chars}")
    bits = (rng or _SYSTEM).getrandbits(5 * chars)
    return "".join(_LOWER[bits >> shift & 31] for shift in range(0, 5 * chars, 5))


_SYSTEM: Final = random.SystemRandom()
_LOWER: Final = ALPHABET.lower()


def _milliseconds(moment: datetime) -> int:
    # In integers: a float of seconds rounds to microseconds, sometimes into the next millisecond.
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _encode(value: int) -> str:
    return "".join(_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10))
