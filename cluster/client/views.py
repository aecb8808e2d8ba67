"""The views of a database that act for others: one for each set of permissions, and only so many."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from parquedb.access.permissions import Permissions

D = TypeVar("D")

VIEWS_MAX: Final = 256
"""Views of one database that are kept ready (count); those used longest ago are made anew."""

VIEW_LINKS_MAX: Final = 16
"""Namespaces to which one view keeps a way of its own (count); some 9 KiB each, and quickly made again."""


class Views(Generic[D]):
    """The views that were used last. Threads may share it.

    Args:
        make: Makes one.
    """

    def __init__(self, make: Callable[[Permissions], D]) -> None:
        self._make = make
        self._views: OrderedDict[Permissions, D] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, given: Permissions | Iterable[str]) -> D:
        """Return the view for these permissions.

        Raises:
            InvalidInputError: they are none.
        """
        permissions = permissions_of(given)
        with self._lock:
            found = self._views.get(permissions)
            if found is None:
                found = self._views[permissions] = self._make(permissions)
                if len(self._views) > VIEWS_MAX:
                    self._views.popitem(last=False)
            else:
                self._views.move_to_end(permissions)
            return found

    def __len__(self) -> int:
        return len(self._views)

    def clear(self) -> None:
        """Keep none."""
        with self._lock:
            self._views.clear()


def permissions_of(given: Permissions | Iterable[str]) -> Permissions:
    """Return permissions from their entries.

    Raises:
        InvalidInputError: an entry is none.
    """
    return given if isinstance(given, Permissions) else Permissions(given)


def make_room(links: dict[str, Any]) -> None:
    """Drop the oldest way of a view where one more would be too many; what is under way on it goes on."""
    while len(links) >= VIEW_LINKS_MAX:
        del links[next(iter(links))]
