"""Namespaces that the database keeps for itself: no HTTP caller reaches them, whatever its permissions."""

from typing import Final

from parquedb.errors import PermissionDeniedError

RESERVED_PREFIX: Final = "$"
API_KEYS: Final = "$api-keys"
"""Where the hashes of API keys are kept."""


def is_reserved(namespace: str) -> bool:
    """Whether a namespace is one of the database's own."""
    return namespace.startswith(RESERVED_PREFIX)


def check_not_reserved(namespace: str) -> None:
    """Return if callers from outside may name a namespace.

    Raises:
        PermissionDeniedError: it is one of the database's own.
    """
    if is_reserved(namespace):
        raise PermissionDeniedError(f"names that begin with {RESERVED_PREFIX!r} are reserved", namespace=namespace)
