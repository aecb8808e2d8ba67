"""Where an id may be in one data file: sorted 64-bit hashes of its ids and the row of each, 12 bytes a document.

A hit is only a candidate. Hashes collide, by chance or because somebody who chooses ids wants them to, so the id
itself is compared before anything is decided; a miss is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.uint32]

_hash = xxhash.xxh3_64_intdigest


def hash_id(id: str) -> int:  # noqa: A002 - the public word for it
    """Return the XXH3-64 of a bare id's UTF-8."""
    return _hash(id.encode())


def hash_ids(ids: Sequence[str]) -> Hashes:
    """Return the XXH3-64 of each bare id, in order."""
    return np.fromiter(map(_hash, map(str.encode, ids)), np.uint64, len(ids))


@dataclass(frozen=True, slots=True)
class IdIndex:
    """The index of one file.

    Invariant: `hashes` ascends, and `positions[i]` is the row whose id has `hashes[i]`.
    """

    hashes: Hashes
    positions: Positions

    @classmethod
    def of(cls, ids: Sequence[str]) -> IdIndex:
        """Index bare ids given in row order."""
        hashes = hash_ids(ids)
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], order.astype(np.uint32))

    def by_row(self) -> Hashes:
        """Return the hash of each row's id, in row order."""
        hashes = np.empty(len(self.hashes), np.uint64)
        hashes[self.positions] = self.hashes
        return hashes

    def rows(self, wanted: int) -> list[int]:
        """Return the candidate rows of one hash, ascending; usually none or one."""
        key = np.uint64(wanted)
        start = int(self.hashes.searchsorted(key))
        if start == len(self.hashes) or self.hashes[start] != key:
            return []
        stop = int(self.hashes.searchsorted(key, side="right"))
        return [int(row) for row in self.positions[start:stop]]

    def rows_of_many(self, wanted: Hashes) -> list[tuple[int, int]]:
        """Return (index into `wanted`, candidate row) for every hit."""
        if len(wanted) == 1:
            return [(0, row) for row in self.rows(int(wanted[0]))]
        starts = self.hashes.searchsorted(wanted)
        stops = self.hashes.searchsorted(wanted, side="right")
        hits = np.flatnonzero(stops > starts)
        if not (stops > starts + 1).any():
            return list(zip(hits.tolist(), self.positions[starts[hits]].tolist(), strict=True))
        return [(int(query), int(self.positions[at])) for query in hits for at in range(starts[query], stops[query])]
