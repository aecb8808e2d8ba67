"""What a caller needs to read a namespace by itself, straight from storage, and the hold that keeps it there.

The hold (a pin) has a lease: who reads renews it, also at the next owner, which learns of it that way. One that is not
renewed is forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from parquedb.clock import Clock
from parquedb.errors import BackpressureError, ValidationError
from parquedb.storage.files import deletions
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.shred import Row, shred
from parquedb.storage.query.scan_plan import ScanSnapshot

LEASE_S: Final = 30.0
PINS_MAX: Final = 1000
PINNED_KEYS_MAX: Final = 100_000

_TOKEN_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class _Pin:
    keys: frozenset[str]
    until_s: float


class Pins:
    """The objects that snapshots of one namespace hold.

    Args:
        clock: Measures leases.
        grace_s: How long superseded objects stay anyway; a lease is a small part of it.
    """

    def __init__(self, clock: Clock, grace_s: float) -> None:
        self._clock = clock
        self._pins: dict[str, _Pin] = {}
        self.lease_s = min(LEASE_S, grace_s / 4)
        """Seconds for which a pin holds when it is not renewed."""

    def hold(self, token: str, keys: Iterable[str]) -> None:
        """Make or renew a pin.

        Raises:
            BackpressureError: there are too many.
            ValidationError: it names too many objects.
        """
        self._forget()
        pinned = frozenset(keys)
        if len(pinned) > PINNED_KEYS_MAX:
            raise ValidationError(field="keys", expected=f"at most {PINNED_KEYS_MAX}", actual=len(pinned))
        if token not in self._pins and len(self._pins) >= PINS_MAX:
            raise BackpressureError(f"{PINS_MAX} snapshots are open already; close some", retry_after=self.lease_s)
        self._pins[token] = _Pin(pinned, self._clock.boot_s() + self.lease_s)

    def release(self, token: str) -> None:
        """Forget a pin; an unknown one is no error."""
        self._pins.pop(token, None)

    def keys(self) -> frozenset[str]:
        """Return the keys that are held now, relative to the namespace."""
        self._forget()
        return frozenset().union(*(pin.keys for pin in self._pins.values()))

    def _forget(self) -> None:
        now_s = self._clock.boot_s()
        self._pins = {token: pin for token, pin in self._pins.items() if pin.until_s > now_s}


def read_pin(body: Any) -> tuple[str, list[str]]:
    """Return token and keys of a renewal.

    Raises:
        ValidationError: it is none.
    """
    if isinstance(body, list) and len(body) == 2 and isinstance(body[0], str) and isinstance(body[1], list):  # noqa: PLR2004
        token, keys = body
        if len(token) == 2 * _TOKEN_BYTES and all(isinstance(key, str) for key in keys):
            return token, keys
    raise ValidationError(field="pin", expected="a token and the keys of objects", actual=type(body).__name__)


def new_token(random_bytes: bytes) -> str:
    """Return the name of a new pin, from `_TOKEN_BYTES` random bytes."""
    return random_bytes[:_TOKEN_BYTES].hex()


def describe(snapshot: ScanSnapshot, rows: list[Row], registry: ColumnRegistry) -> dict[str, Any]:
    """Return a snapshot as plain data: what its files are, which rows are dead, and the rows that are in none.

    Takes CPU time in proportion to the rows: run it in an executor.

    Args:
        snapshot: Files and dead rows.
        rows: Documents of its memory and the seq of each.
        registry: The namespace's columns.
    """
    table, grown = shred(rows, registry)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {
        "files": [file.to_wire() for file in snapshot.files],
        # A copy: encoding may change the bitmap, which queries are reading.
        "dead": {key: deletions.encode(dead.copy()) for key, dead in snapshot.dead.items() if dead},
        "registry": grown.to_wire(),
        "memory": sink.getvalue().to_pybytes(),
    }
