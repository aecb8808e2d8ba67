"""What a store holds beside objects: names that are no keys, temporary files, uploads that never ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from parquedb.storage.backend import StorageBackend

STRAYS_MAX: Final = 1000
"""A store tells of so many at most."""


class StrayKind(StrEnum):
    """What a stray is."""

    FOREIGN = "foreign"
    """Of a name that is no key of ours."""

    TEMPORARY = "temporary"
    """A file that a write makes before it gives it its name."""

    UPLOAD = "upload"
    """A multipart upload under way; we make none."""


@dataclass(frozen=True, slots=True)
class Stray:
    """One of them.

    Attributes:
        kind: See there.
        name: Relative to the database.
        size: Bytes; 0 where the store does not say.
        modified_s: Unix seconds by the store's clock.
    """

    kind: StrayKind
    name: str
    size: int
    modified_s: float


async def strays_of(storage: StorageBackend, prefix: str) -> tuple[Stray, ...]:
    """Return what a store tells of strays, through whatever layers are around it.

    Args:
        storage: The store. One that has no such thing (memory) tells of none.
        prefix: Of a namespace; empty: what lies beside the namespaces.
    """
    tell = getattr(storage, "strays", None)
    return () if tell is None else tuple(await tell(prefix))
