"""Which permission each kind of operation needs. A kind that is not listed here is denied to everybody.

The client asks before it sends, so that a denied operation does not travel; the owner asks again, of the grant that
came with the call, and its answer is the one that counts.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from parquedb.access.permissions import OPERATIONS, Permissions
from parquedb.actors.requests.operations import BULK_TERMS, CREATES, GETS, INSERT_ARROW, UPDATES, Operation
from parquedb.errors import PermissionDeniedError

PERMISSIONS_OF_KINDS: Final[Mapping[str, str]] = {
    **{CREATES: "create", UPDATES: "update", GETS: "get"},
    **{name: name for name in ("create", "create_many", "update", "replace", "delete", "restore", "batch", "register")},
    **{name: name for name in ("update_many", "delete_many", "upsert", INSERT_ARROW)},
    **{name: name for name in ("get", "exists", "schema", "history", "changes", "snapshot")},
    **{name: name for name in ("find", "find_one", "count", "distinct", "aggregate", "explain")},
    # The holder of a snapshot renews it and lets go of it.
    **{"pin": "snapshot", "unpin": "snapshot"},
    # Asked in front of either; see `Permits`.
    BULK_TERMS: INSERT_ARROW,
}
"""Permission by the kind of operation; `Permits.denial` knows what more the arguments of some kinds need."""

PERMISSIONS_OF_METHODS: Final[Mapping[str, str]] = {
    **{name: name for name in ("flush", "compact", "stats", "metrics")},
    # Names hooks and counts what they were told.
    "hook_stats": "metrics",
    # Counts, sizes and states; of operations that stand out their names and the errors.
    "survey": "metrics",
}
"""Permission by the method of the actor that is no operation. `activate` needs any; `Doorkeeper` says what is free."""

LOADED_AS: Final = "create_many"
"""What a load says in its option `method` that stands for so many creates."""

_SINGLE_WRITES: Final = ("create", "update", "replace", "delete", "restore")
_LOOKED_INTO: Final = frozenset({"batch", "update", "update_many", INSERT_ARROW})
_NOBODY_HAS: Final = "an operation of unknown form"
_KIND, _OPTIONS, _WIRE_ITEMS_MIN = 0, 3, 9


class Permits:
    """What some permissions allow on one namespace. Immutable.

    Args:
        permissions: Sets of which each has to allow an operation.
        namespace: Its name.
    """

    __slots__ = ("_allowed", "_kinds", "_namespace")

    def __init__(self, permissions: Sequence[Permissions], namespace: str) -> None:
        self._namespace = namespace
        self._allowed = frozenset(
            name for name in OPERATIONS if all(each.allows(name, namespace) for each in permissions)
        )
        kinds = {kind for kind, needed in PERMISSIONS_OF_KINDS.items() if needed in self._allowed}
        # Whoever may load in either way may ask under which terms.
        self._kinds = frozenset(kinds | {BULK_TERMS} if LOADED_AS in self._allowed else kinds)

    @property
    def any(self) -> bool:
        """Whether there is anything at all that is allowed."""
        return bool(self._allowed)

    def denial(self, operation: Operation) -> PermissionDeniedError | None:
        """Return why an operation is denied; None when it is allowed."""
        kind = operation.kind
        # What says nothing but what it is needs no second look, and most updates are like that.
        if kind not in _LOOKED_INTO or (kind != "batch" and operation.options == {}):
            return None if kind in self._kinds else self._denied(PERMISSIONS_OF_KINDS.get(kind, kind))
        for needed in _needed(operation):
            if needed not in self._allowed:
                return self._denied(needed)
        return None

    def check(self, operation: Operation) -> None:
        """Return if an operation is allowed.

        Raises:
            PermissionDeniedError: it is not.
        """
        denial = self.denial(operation)
        if denial is not None:
            raise denial

    def check_method(self, method: str) -> None:
        """Return if a method of the actor that is no operation is allowed.

        Raises:
            PermissionDeniedError: it is not.
        """
        needed = PERMISSIONS_OF_METHODS.get(method, method)
        allowed = self.any if method == "activate" else needed in self._allowed
        if not allowed:
            raise self._denied(needed)

    def _denied(self, needed: str) -> PermissionDeniedError:
        message = f"{needed} on {self._namespace!r} is not allowed"
        return PermissionDeniedError(message, operation=needed, namespace=self._namespace)


@lru_cache(maxsize=1024)
def permits_of(permissions: tuple[Permissions, ...], namespace: str) -> Permits:
    """Return the permits of some permissions on a namespace; see `Permits`."""
    return Permits(permissions, namespace)


def _needed(operation: Operation) -> list[str]:
    """Return the permissions that an operation needs which is one of `_LOOKED_INTO`."""
    kind, options = operation.kind, operation.options
    if kind == "batch":
        parts = operation.body if isinstance(operation.body, list) else [None]
        return ["batch", *(needed for part in parts for needed in _needed_in_batch(part))]
    if kind == INSERT_ARROW and isinstance(options, Mapping) and options.get("method") == LOADED_AS:
        return [LOADED_AS]
    return [kind, *_inserting(options)]


def _needed_in_batch(wire: Any) -> list[str]:
    """Return what one operation of a batch needs, which is in the form it travels in."""
    if not isinstance(wire, list) or len(wire) < _WIRE_ITEMS_MIN or wire[_KIND] not in _SINGLE_WRITES:
        return [_NOBODY_HAS]
    return [wire[_KIND], *_inserting(wire[_OPTIONS] or {})]


def _inserting(options: Any) -> list[str]:
    """Return what it takes besides that a write inserts a document where it finds none."""
    if not isinstance(options, Mapping):
        return [_NOBODY_HAS]
    return ["create"] if options.get("upsert") else []
