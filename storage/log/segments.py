"""Loading the segments that a manifest refers to while other things happen."""

import asyncio

from parquedb.errors import CorruptionError, ObjectNotFoundError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.log.manifest import Manifest, Segment, verify_object


class SegmentLoader:
    """Loads and verifies the segments of one manifest at a time; those that the next one shares are not loaded again.

    Args:
        storage: Where they are.
        prefix: The namespace's, ending in `/`.
    """

    def __init__(self, storage: StorageBackend, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix
        self._loads: dict[str, asyncio.Task[bytes]] = {}

    def want(self, manifest: Manifest | None) -> None:
        """Begin to load what `manifest` refers to and nobody has asked for yet; let go of everything else."""
        wanted = {segment.key: segment for segment in (*manifest.tails, *manifest.request_ids)} if manifest else {}
        for key in [key for key, load in self._loads.items() if key not in wanted or _has_failed(load)]:
            self._loads.pop(key).cancel()
        for key, segment in wanted.items():
            if key not in self._loads:
                self._loads[key] = load = asyncio.ensure_future(self._load(segment))
                # Of a manifest that has been superseded meanwhile nobody asks how it went.
                load.add_done_callback(_has_failed)

    async def loaded(self) -> dict[str, bytes]:
        """Return the contents of everything wanted, by key.

        Raises:
            CorruptionError: a segment is missing or damaged, and was when it was read again.
            ParqueDBError: storage refused.
        """
        return dict(zip(self._loads, await asyncio.gather(*self._loads.values()), strict=True))

    def stop(self) -> None:
        """Let go of everything."""
        self.want(None)

    async def _load(self, segment: Segment) -> bytes:
        key = self._prefix + segment.key
        try:
            return verify_object(key, await self._get(key) or b"", segment.checksum)
        except CorruptionError:
            data = await self._get(key)  # Once more, as for entries (rule 7).
        if data is None:
            raise CorruptionError(key=key, reason="missing, though the manifest names it")
        return verify_object(key, data, segment.checksum)

    async def _get(self, key: str) -> bytes | None:
        try:
            return await self._storage.read(key)
        except ObjectNotFoundError:
            return None


def _has_failed(load: "asyncio.Task[bytes]") -> bool:
    return load.done() and (load.cancelled() or load.exception() is not None)
