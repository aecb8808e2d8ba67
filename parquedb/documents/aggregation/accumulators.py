"""Accumulators: what `$group` computes over the documents of one group. Source: MongoDB manual, "$group"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from parquedb.documents.aggregation.numbers import Total
from parquedb.documents.budget import Budget, size_of
from parquedb.documents.comparison import MISSING
from parquedb.documents.identity import identity
from parquedb.documents.sorting import order_key

_ENTRY_BYTES: Final = 100
_FRESH: Final = object()


class Accumulator(Protocol):
    """The state of one accumulator in one group."""

    def add(self, value: Any, /) -> None:
        """Take in the value of one document; `MISSING` for none."""

    def result(self) -> Any:
        """Return what it came to."""


class _Sum:
    __slots__ = ("_total", "add")

    def __init__(self, budget: Budget) -> None:  # noqa: ARG002 - one shape for all
        self._total = Total()
        self.add = self._total.add

    def result(self) -> Any:
        return self._total.sum()


class _Average(_Sum):
    __slots__ = ()

    def result(self) -> Any:
        return self._total.mean()


class _Kept:
    """One value, charged for while it is kept."""

    __slots__ = ("_budget", "_size", "_value")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0
        self._value: Any = _FRESH

    def _keep(self, value: Any) -> None:
        size = size_of(value)
        self._budget.spend(size - self._size)
        self._value, self._size = value, size

    def result(self) -> Any:
        return None if self._value is _FRESH or self._value is MISSING else self._value


class _First(_Kept):
    __slots__ = ()

    def add(self, value: Any) -> None:
        if self._value is _FRESH:
            self._keep(value)


class _Last(_Kept):
    __slots__ = ()

    def add(self, value: Any) -> None:
        self._keep(value)


class _Least(_Kept):
    __slots__ = ("_key",)

    def add(self, value: Any) -> None:
        if value is None or value is MISSING:
            return
        key = order_key(value)
        if self._value is _FRESH or self._precedes(key):
            self._key = key
            self._keep(value)

    def _precedes(self, key: Any) -> bool:
        return bool(key < self._key)


class _Greatest(_Least):
    __slots__ = ()

    def _precedes(self, key: Any) -> bool:
        return bool(key > self._key)


class _Push:
    __slots__ = ("_budget", "_values")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._values: list[Any] = []

    def add(self, value: Any) -> None:
        if value is not MISSING:
            self._budget.spend(size_of(value))
            self._values.append(value)

    def result(self) -> list[Any]:
        return self._values


class _AddToSet:
    __slots__ = ("_budget", "_values")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._values: dict[Any, Any] = {}

    def add(self, value: Any) -> None:
        if value is MISSING:
            return
        key = identity(value)
        if key not in self._values:
            self._budget.spend(2 * size_of(value) + _ENTRY_BYTES)
            self._values[key] = value

    def result(self) -> list[Any]:
        return list(self._values.values())


ACCUMULATORS: Final[dict[str, Callable[[Budget], Accumulator]]] = {
    "$sum": _Sum,
    "$avg": _Average,
    "$min": _Least,
    "$max": _Greatest,
    "$first": _First,
    "$last": _Last,
    "$push": _Push,
    "$addToSet": _AddToSet,
}
"""By name; `$count` is the `$sum` of 1."""
