"""Deletion vectors: which rows of a data file are dead, as roaring bitmaps of row positions.

The stored form is the portable serialisation that all Roaring libraries read, 2 bytes or less per dead row.

Source: Roaring bitmap format specification, "32-bit".
"""

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from parquedb.errors import CorruptionError


def encode(dead: BitMap) -> bytes:
    """Return the stored form; `dead` may be compacted in place by this."""
    dead.run_optimize()
    return bytes(dead.serialize())


def decode(data: bytes, *, key: str, rows: int) -> BitMap:
    """Return the dead rows of the file `key`.

    Raises:
        CorruptionError: no bitmap, or one that names a row past `rows`.
    """
    try:
        dead = BitMap.deserialize(data)
    except (ValueError, IndexError) as error:
        raise CorruptionError(key=key, reason=f"deletion vector unreadable: {error}", cause=error) from error
    if dead and dead.max() >= rows:
        reason = f"deletion vector names row {dead.max()} of {rows}"
        raise CorruptionError(key=key, reason=reason)
    return dead


def live_mask(dead: BitMap | None, start: int, stop: int) -> npt.NDArray[np.bool_]:
    """Return True for each live row of `start` (inclusive) to `stop` (exclusive)."""
    mask = np.ones(stop - start, np.bool_)
    if dead:
        positions = np.frombuffer(dead.to_array(), np.uint32).astype(np.int64)
        first, last = np.searchsorted(positions, (start, stop))
        mask[positions[first:last] - start] = False
    return mask
