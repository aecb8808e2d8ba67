"""Deletion vectors: which rows of a data file are dead, as roaring bitmaps of row positions.

The stored form is the portable serialisation that all Roaring libraries read, 2 bytes or less per dead row.

Source: Roaring bitmap format specification, "32-bit".
"""

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from parquedb.errors import CorruptionError
from parquedb.storage.query.bits import Bits, packed

_LIVE_MASKS_MAX = 1024


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


class LiveRows:
    """Live rows as Arrow masks, kept for deletion vectors that are asked about again and again.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int], tuple[BitMap, Bits]] = {}

    def bits(self, dead: BitMap, start: int, stop: int) -> Bits:
        """Return True for each live row of `start` (inclusive) to `stop` (exclusive); `dead` never changes again."""
        key = (id(dead), start, stop)
        kept = self._kept.get(key)
        # The bitmap is kept with its mask: while it lives nobody else has its id.
        if kept is not None and kept[0] is dead:
            return kept[1]
        made = packed(live_mask(dead, start, stop))
        if len(self._kept) >= _LIVE_MASKS_MAX:
            self._kept.clear()
        self._kept[key] = dead, made
        return made
