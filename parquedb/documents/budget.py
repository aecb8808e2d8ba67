"""A bound on what one query holds in memory, and an estimate of what values take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from parquedb.errors import QueryMemoryError

_VALUE_BYTES: Final = 40
_CONTAINER_BYTES: Final = 64


def size_of(value: Any) -> int:
    """Estimate the bytes that a value of a document takes in memory, within a factor of two."""
    kind = type(value)
    if kind is str or kind is bytes:
        return _VALUE_BYTES + len(value)
    if kind is dict:
        return _CONTAINER_BYTES + sum(_VALUE_BYTES + len(name) + size_of(item) for name, item in value.items())
    if kind is list:
        return _CONTAINER_BYTES + sum(map(size_of, value))
    return _VALUE_BYTES + (value.bit_length() >> 3) if kind is int else _VALUE_BYTES


class Budget:
    """What one query may still hold.

    Args:
        bytes_max: The limit, in estimated bytes.
    """

    __slots__ = ("_left", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._left = bytes_max

    def spend(self, size: int) -> None:
        """Take note of bytes held from now on; a negative number of bytes is let go.

        Raises:
            QueryMemoryError: that is more than the limit.
        """
        self._left -= size
        if self._left < 0:
            raise QueryMemoryError(bytes_max=self.bytes_max)

    def hold(self, values: Iterable[Any]) -> None:
        """`spend` what the values take."""
        for value in values:
            self.spend(size_of(value))
