"""Permissions: which operations on which namespaces. What none of them allows is denied.

    read:orders            every reading operation on `orders`
    write:tenant-a-*       every writing operation on namespaces whose names begin with `tenant-a-`
    find:logs              one operation, named like the method
    admin:*                what is neither reading nor writing documents: schemas, folding, the database as a whole
    *:tenant-a-*           every operation

An action is a group (`read write admin`), one operation, or `*`. A pattern is the name of a namespace in which `*`
stands for any text; nothing else in it is special, but that no star begins a name that the database keeps for itself
(`$api-keys`): who may write everywhere may not make itself a key. Questions about the whole database (its namespaces,
health, metrics) are operations on the namespace `""`, which only the pattern `*` matches.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from parquedb.access.reserved import RESERVED_PREFIX, is_reserved
from parquedb.errors import InvalidInputError, PermissionDeniedError

READ: Final = frozenset(
    {"get", "exists", "find", "find_one", "count", "distinct", "aggregate", "explain", "schema", "stats"}
    | {"history", "changes", "snapshot", "export"}
)
WRITE: Final = frozenset(
    {"create", "create_many", "update", "replace", "delete", "restore", "batch", "update_many", "delete_many", "upsert"}
    | {"insert_arrow"}
)
ADMIN: Final = frozenset({"register", "flush", "compact", "verify", "backup", "namespaces", "health", "metrics"})
OPERATIONS: Final = READ | WRITE | ADMIN
GROUPS: Final = {"read": READ, "write": WRITE, "admin": ADMIN, "*": OPERATIONS}

WHOLE_DATABASE: Final = ""
"""Stands for the namespace in operations on none."""

PERMISSIONS_MAX: Final = 1000
PATTERN_LENGTH_MAX: Final = 256


class Permissions:
    """An immutable set of permissions. Equal sets are equal; two threads may share one."""

    __slots__ = ("_patterns", "entries")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Read entries of the form `<action>:<pattern>`.

        Raises:
            InvalidInputError: an entry is none, or there are more than `PERMISSIONS_MAX`.
        """
        self.entries: Final = tuple(sorted(set(entries)))
        if len(self.entries) > PERMISSIONS_MAX:
            raise InvalidInputError(f"{len(self.entries)} permissions; {PERMISSIONS_MAX} is the most")
        self._patterns = [_read(entry) for entry in self.entries]

    def allows(self, operation: str, namespace: str = WHOLE_DATABASE) -> bool:
        """Whether an operation, named like the method, may be done on a namespace."""
        return any(operation in operations and _fits(namespace, pieces) for operations, pieces in self._patterns)

    def check(self, operation: str, namespace: str = WHOLE_DATABASE) -> None:
        """Return if an operation is allowed.

        Raises:
            PermissionDeniedError: it is not.
        """
        if not self.allows(operation, namespace):
            where = f" on {namespace!r}" if namespace else ""
            raise PermissionDeniedError(
                f"{operation}{where} is not allowed", operation=operation, namespace=namespace or None
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Permissions) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    def __repr__(self) -> str:
        return f"Permissions({list(self.entries)!r})"


ALL: Final = "*:*"
EVERYTHING: Final = (ALL, f"*:{RESERVED_PREFIX}*")
"""What the database's own services may do: all that others may, and what is kept for them."""


@lru_cache(maxsize=4096)
def _read(entry: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the operations of an entry, and the texts between the stars of its pattern."""
    action, colon, pattern = entry.partition(":") if isinstance(entry, str) else ("", "", "")
    operations = GROUPS.get(action) or (frozenset({action}) if action in OPERATIONS else None)
    if not colon or operations is None or not 0 < len(pattern) <= PATTERN_LENGTH_MAX:
        expected = ", ".join([*GROUPS, *sorted(OPERATIONS)])
        raise InvalidInputError(f"{entry!r:.300} is no permission; expected <action>:<pattern>, actions: {expected}")
    return operations, tuple(pattern.split("*"))


def _fits(namespace: str, pieces: tuple[str, ...]) -> bool:
    """Whether the pieces stand in a text in this order, the first at its start and the last at its end.

    Each is taken where it comes first, which no later choice can better: the time is linear, unlike that of a regular
    expression with as many stars.
    """
    first, *middle = pieces
    if is_reserved(namespace) and not is_reserved(first):
        return False
    if not middle:
        return namespace == first
    last = middle.pop()
    if not namespace.startswith(first):
        return False
    at, end = len(first), len(namespace) - len(last)
    for piece in middle:
        found = namespace.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end and namespace.endswith(last)
