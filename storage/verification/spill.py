"""Arrays that may be too many for memory: the first ones stay there, the others go to files that are mapped."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

MEMORY_MAX: Final = 256 << 20
"""Bytes of arrays kept in memory; what comes on top lies in the system's folder for temporary files."""


class Spill:
    """Keeps arrays until the end of a verification.

    Args:
        memory_max: Bytes of them in memory at most.
    """

    def __init__(self, memory_max: int = MEMORY_MAX) -> None:
        self._left = memory_max
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._number = 0

    def keep(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return an equal array; it may be mapped from a file."""
        self._left -= array.nbytes
        if self._left >= 0 or not array.nbytes:
            return array
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="parquedb-verify-")
        self._number += 1
        path = Path(self._folder.name) / f"{self._number}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]  # numpy: Any, for the modes differ.

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
