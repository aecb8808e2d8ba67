"""What goes wrong in a slice, and when. Pure: the same seed gives the same schedule."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

S3, DISK = "s3", "disk"
NAMESPACES: Final = ("bank-0", "bank-1", "bank-2")

PAUSE_S: Final = (0.8, 2.8)
"""Shortest and longest time between the beginnings of two faults. Many last longer: they overlap."""


class Fault(NamedTuple):
    """A kind of fault.

    Attributes:
        cards: How often it is in the deck that a schedule is dealt from.
        places: Where it can happen.
        lasts_s: Shortest and longest duration; zeros for what happens at once.
    """

    cards: int
    places: tuple[str, ...]
    lasts_s: tuple[float, float] = (0.0, 0.0)


EVERYWHERE: Final = (S3, DISK)
FAULTS: Final[dict[str, Fault]] = {
    "owner_killed": Fault(6, EVERYWHERE),
    "node_killed": Fault(2, EVERYWHERE),
    "raylet_killed": Fault(1, EVERYWHERE),
    "ray_killed": Fault(1, EVERYWHERE),
    "owner_frozen": Fault(3, EVERYWHERE, (1.0, 3.0)),
    "client_killed": Fault(3, EVERYWHERE),
    "server_killed": Fault(1, (S3,), (0.0, 1.0)),
    "server_frozen": Fault(1, (S3,), (0.5, 3.0)),
    "network_slow": Fault(1, (S3,), (1.0, 4.0)),
    "network_black_hole": Fault(1, (S3,), (0.5, 4.0)),
    "requests_lost": Fault(1, (S3,), (1.0, 4.0)),
    "replies_lost": Fault(1, (S3,), (1.0, 4.0)),
    "requests_late": Fault(1, (S3,), (1.0, 4.0)),
    "server_errors": Fault(1, (S3,), (1.0, 4.0)),
    "disk_full": Fault(3, (DISK,), (0.5, 3.0)),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One fault of a schedule.

    Attributes:
        at_s: Seconds after the beginning of the slice.
        fault: One of `FAULTS`.
        namespace: Whose owner it strikes, where it strikes one.
        choice: Which node or client, modulo how many there are; also seeds what else the fault draws.
        lasts_s: How long.
    """

    at_s: float
    fault: str
    namespace: str
    choice: int
    lasts_s: float

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.fault}{lasts}"


def schedule(seed: int, place: str, seconds: float) -> list[Event]:
    """Return the faults of one slice, in the order of their times.

    They are dealt from a shuffled deck, so that even a short slice meets nearly all kinds.
    """
    rng = random.Random(f"{seed}-{place}")
    faults = _dealt(rng, place)
    events = []
    at_s = rng.uniform(*PAUSE_S)
    while at_s < seconds:
        fault = next(faults)
        lasts_s = round(rng.uniform(*FAULTS[fault].lasts_s), 2)
        events.append(Event(round(at_s, 2), fault, rng.choice(NAMESPACES), rng.randrange(1 << 16), lasts_s))
        at_s += rng.uniform(*PAUSE_S)
    return events


def _dealt(rng: random.Random, place: str) -> Iterator[str]:
    while True:
        deck = [name for name, fault in FAULTS.items() if place in fault.places for _ in range(fault.cards)]
        rng.shuffle(deck)
        yield from deck
