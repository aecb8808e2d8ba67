"""Where the rows of merged files went: from an old place to the new one, for single rows and for deletion vectors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from parquedb.storage.files.data_files import Location

Ranks = npt.NDArray[np.int32]

LEFT_OUT = -1
"""Rank of a row that was dead when the merge began."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The rows of some files, merged into others.

    Attributes:
        ranks: Old file key to, for each of its rows, the place among all merged rows, or `LEFT_OUT`.
        keys: The new files, in order.
        starts: First rank in each new file, and behind them the number of merged rows.
    """

    ranks: Mapping[str, Ranks]
    keys: tuple[str, ...]
    starts: tuple[int, ...]

    def location(self, old: Location) -> Location | None:
        """Return the new place of a row of a merged file; None if it was left out."""
        rank = int(self.ranks[old.file][old.row])
        if rank == LEFT_OUT:
            return None
        number = bisect_right(self.starts, rank) - 1
        return Location(self.keys[number], rank - self.starts[number])

    def dead(self, old: Mapping[str, BitMap]) -> dict[str, BitMap]:
        """Return the deletion vectors of the new files after those of the old ones; other files' stay as they are.

        Rows that were left out are in no vector any more.
        """
        kept = {key: bitmap for key, bitmap in old.items() if key not in self.ranks}
        ranks = [
            self.ranks[key][np.frombuffer(bitmap.to_array(), np.uint32)]
            for key, bitmap in old.items()
            if bitmap and key in self.ranks
        ]
        if not ranks:
            return kept
        died = np.concatenate(ranks)
        died = np.sort(died[died != LEFT_OUT])
        bounds = np.searchsorted(died, self.starts)
        for number, key in enumerate(self.keys):
            rows = died[bounds[number] : bounds[number + 1]] - self.starts[number]
            if len(rows):
                kept[key] = BitMap(rows.astype(np.uint32))
        return kept
