"""The views of a database that act for others: one for each set of permissions, and only so many."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from parquedb.access.permissions import Permissions
from parquedb.actors.requests import arguments
from parquedb.cluster.client.connection import Connection
from parquedb.cluster.transport.credentials import Credentials

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
        permissions = _permissions_of(given)
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


class ViewMethods(Generic[D]):
    """What a database and an asynchronous one have in common of acting for others."""

    _connection: Connection
    _credentials: Credentials
    _views: Views[D]

    def acting_for(self, permissions: Permissions | Iterable[str]) -> D:
        """Return a view of this database that may do what these permissions allow, and what this one may.

        It shares the connection, and is refused by its owners what it may not do where the database requires grants.
        Cheap enough for every request: equal permissions get the same view, as long as it is among the
        `VIEWS_MAX` used last. Closing a view closes nothing else.

        Raises:
            InvalidInputError: they are no permissions.
            ConfigurationError: the database is behind a gateway, which decides by its own means.
        """
        self._connection.require_grants("acting_for")
        return self._views.of(permissions)

    def issue_grant(self, permissions: Permissions | Iterable[str], *, lifetime_s: float = 3600) -> str:
        """Return a grant for somebody else, for `connect(grant=...)` or a bare handle: whoever has it may use it.

        Args:
            permissions: All that it allows; never more than this database may do itself.
            lifetime_s: When it ends, in seconds from now; not later than the grant that this database was given.

        Raises:
            ConfigurationError: this process has neither a key nor a grant.
        """
        self._connection.require_grants("issue_grant")
        limit_s = arguments.check_timeout(lifetime_s, lifetime_s)
        return self._credentials.issue(_permissions_of(permissions), limit_s)


def _permissions_of(given: Permissions | Iterable[str]) -> Permissions:
    """Return permissions from their entries.

    Raises:
        InvalidInputError: an entry is none.
    """
    return given if isinstance(given, Permissions) else Permissions(given)


def make_room(links: dict[str, Any]) -> None:
    """Drop the oldest way of a view where one more would be too many; what is under way on it goes on."""
    while len(links) >= VIEW_LINKS_MAX:
        del links[next(iter(links))]
