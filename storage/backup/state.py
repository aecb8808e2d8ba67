"""Everything that one consistent state of a namespace refers to: what has to be copied, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parquedb.errors import CorruptionError
from parquedb.storage.backup.catalogue import NamespacePoint, Reference
from parquedb.storage.history.segment import named_files
from parquedb.storage.log.entry import Kind, decode_entry, entry_key, position_of
from parquedb.storage.log.manifest import HistorySegment, checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parquedb.storage.log.chain import Chain


@dataclass(frozen=True, slots=True)
class Piece:
    """One object to copy.

    Attributes:
        key: Relative to the namespace.
        checksum: XXH3-64 of its bytes, as whoever refers to it says; None for an entry below the manifest, which
            carries a checksum itself.
        size: Bytes, where that is known.
        data: Its bytes, where they have been read already.
    """

    key: str
    checksum: int | None
    size: int | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A namespace as of its newest log entry.

    Attributes:
        namespace: Its name.
        chain: Manifest and log.
        pieces: What they refer to and are made of, by key.
    """

    namespace: str
    chain: Chain
    pieces: dict[str, Piece]

    @classmethod
    def of(cls, namespace: str, chain: Chain) -> State:
        """Return what a chain refers to, itself included.

        Left out is what nobody refers to: data files of loads under way, manifests that no checkpoint names, what has
        been superseded and waits for the collector.
        """
        return cls(namespace, chain, {piece.key: piece for piece in _pieces(chain)})

    def point(self, objects: list[Reference]) -> NamespacePoint:
        """Return what a catalogue says of this state."""
        chain = self.chain
        return NamespacePoint(
            namespace=self.namespace,
            incarnation=chain.incarnation.hex(),
            tail=chain.tail,
            epoch=chain.epoch,
            seq=chain.next_seq - 1,
            log_time_us=chain.log_time_us,
            objects=tuple(sorted(objects)),
        )

    def check_fence(self, key: str, name: str, data: bytes) -> None:
        """Accept the `open` entry below the manifest that `data` has to be.

        Args:
            key: Relative to the namespace.
            name: Of the object, for errors.
            data: What is stored there.

        Raises:
            CorruptionError: it is another one, or damaged.
        """
        header, position = decode_entry(name, data).header, position_of(key)
        if (header.position, header.kind, header.incarnation) != (position, Kind.OPEN, self.chain.incarnation):
            raise CorruptionError(key=name, reason=f"not the open entry {position} that the manifest lists")


def _pieces(chain: Chain) -> Iterator[Piece]:
    for position, (entry, data) in chain.stored.items():
        yield Piece(entry_key(position), checksum(data), len(data), data)
        for file in named_files(entry):
            yield Piece(file.key, file.checksum, file.bytes)
    base, manifest = chain.base, chain.manifest
    if base is None or manifest is None:
        return
    yield Piece(base.manifest, base.checksum)
    for segment in (*manifest.tails, *manifest.request_ids, *manifest.history.segments):
        size = segment.bytes if isinstance(segment, HistorySegment) else None
        yield Piece(segment.key, segment.checksum, size)
    for wire in (*manifest.files, *(past.file for past in manifest.history.files)):
        yield Piece(wire["key"], wire["checksum"], wire["bytes"])
    for position in manifest.fences:
        yield Piece(entry_key(position), None)
