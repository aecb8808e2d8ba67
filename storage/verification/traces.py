"""What the rows of a file, or the events of a segment, say of documents, as arrays: who, at which seq, which version.

A document is known here by a hash of its id under a seed that nobody can foresee, so that ids chosen to collide do not
collide here. Whatever is to be reported on the strength of a hash is held against the ids themselves first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt
import xxhash

from parquedb.storage.files.id_index import Hashes
from parquedb.storage.verification.spill import Spill

REMOVED = 0
"""In the place of the version: the document was removed for good."""

Numbers = npt.NDArray[np.int64]
Places = npt.NDArray[np.uint32]
Versions = npt.NDArray[np.int64]

_hash = xxhash.xxh3_64_intdigest


def hash_ids(ids: Sequence[str], seed: int) -> Hashes:
    """Return the seeded hash of each bare id, in order."""
    return np.fromiter(map(_hash, map(_utf8, ids), repeat(seed)), np.uint64, len(ids))


def _utf8(id_: str) -> bytes:
    return id_.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Trace:
    """Rows of one data file, or events of one segment or of the log.

    Attributes:
        key: Of the object, relative to the namespace; empty for the log.
        hashes: Of the ids, ascending.
        seqs: Of the last change of a row, or of an event.
        versions: After it; `REMOVED` where there is no document any more.
        places: Row of the file.
    """

    key: str
    hashes: Hashes
    seqs: Numbers
    versions: Versions
    places: Places

    def __len__(self) -> int:
        return len(self.hashes)

    @classmethod
    def of(
        cls, key: str, hashes: Iterable[Hashes], seqs: Iterable[Numbers], versions: Iterable[Versions], spill: Spill
    ) -> Trace:
        """Put pieces together that are in the order of rows or seqs."""
        joined = _joined(hashes, np.dtype(np.uint64))
        order = np.argsort(joined, kind="stable")
        return cls(
            key,
            spill.keep(joined[order]),  # type: ignore[arg-type]  # The same type comes back.
            spill.keep(_joined(seqs, np.dtype(np.int64))[order]),  # type: ignore[arg-type]  # As above.
            spill.keep(_joined(versions, np.dtype(np.int64))[order]),  # type: ignore[arg-type]  # As above.
            spill.keep(order.astype(np.uint32)),  # type: ignore[arg-type]  # As above.
        )

    def between(self, low: int, high: int | None) -> slice:
        """Return where the hashes from `low` (inclusive) to `high` (exclusive; None: no end) are."""
        start = int(self.hashes.searchsorted(np.uint64(low)))
        stop = len(self.hashes) if high is None else int(self.hashes.searchsorted(np.uint64(high)))
        return slice(start, stop)


def _joined(parts: Iterable[npt.NDArray[np.generic]], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    arrays = list(parts)
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)
