"""A namespace as its log tells it: the newest manifest and the entries above it, each a valid successor."""

from dataclasses import dataclass, replace

from parquedb.documents.codec import decode
from parquedb.storage.log.entry import GENESIS, BackPointer, Kind, LogEntry, is_successor
from parquedb.storage.log.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Chain:
    """A namespace as storage holds it: the newest manifest and every entry above it, all checked.

    Attributes:
        tail: Position of the last entry; 0 when there is none.
        tail_id: Its commit id; `GENESIS` when there is none.
        epoch: Its epoch; 0 when there is none.
        incarnation: Of the chain; `GENESIS` when it is empty.
        next_seq: What the next event gets; 1 when empty.
        log_time_us: Log time of the last entry.
        base: The newest checkpoint, and its manifest.
        manifest: None before the first checkpoint.
        entries: `base.through` + 1 to `tail`, without gaps.
        entry_bytes: The stored bytes of `entries`.
        closed: Whether the last owner said goodbye (`close`).
    """

    tail: int = 0
    tail_id: bytes = GENESIS
    epoch: int = 0
    incarnation: bytes = GENESIS
    next_seq: int = 1
    log_time_us: int = 0
    base: BackPointer | None = None
    manifest: Manifest | None = None
    entries: tuple[LogEntry, ...] = ()
    entry_bytes: tuple[bytes, ...] = ()
    closed: bool = False

    @classmethod
    def on(cls, base: BackPointer, manifest: Manifest) -> "Chain":
        """Return the chain that ends where the manifest of a checkpoint does."""
        return cls(
            tail=manifest.through,
            tail_id=manifest.through_id,
            epoch=manifest.epoch,
            incarnation=manifest.incarnation,
            next_seq=manifest.next_seq,
            log_time_us=manifest.log_time_us,
            base=base,
            manifest=manifest,
        )

    @property
    def log_graces(self) -> list[float]:
        """What everyone promised who may have collected entries while this was read; empty for an empty chain.

        The last `open` alone would not do: it may be one that landed late in collected ground, with another promise.
        """
        promised = [dict(decode(entry.body)) for entry in self.entries if entry.header.kind == Kind.OPEN]
        promised += [self.manifest.leases] if self.manifest else []
        return [leases["log_grace_s"] for leases in promised]

    @property
    def read_leases(self) -> list[float]:
        """What everyone promised who may still be answering: the last owner, and whoever it had not yet waited out.

        An owner writes nothing but its `open` before the lease of the one before it is over.
        """
        leases: list[float] = []
        acting = False
        for entry in reversed(self.entries):
            if entry.header.kind != Kind.OPEN:
                acting = True
                continue
            leases.append(dict(decode(entry.body))["read_lease_s"])
            if acting:
                return leases
        return leases + ([self.manifest.leases["read_lease_s"]] if self.manifest else [])

    @property
    def fences(self) -> tuple[int, ...]:
        """Positions of every `open` entry there ever was, ascending."""
        folded = self.manifest.fences if self.manifest else ()
        return folded + tuple(e.header.position for e in self.entries if e.header.kind == Kind.OPEN)

    @property
    def stored(self) -> dict[int, tuple[LogEntry, bytes]]:
        """`entries` by position, each with its bytes."""
        pairs = zip(self.entries, self.entry_bytes, strict=True)
        return {entry.header.position: (entry, data) for entry, data in pairs}

    def accepts(self, entry: LogEntry, position: int) -> bool:
        """Whether `entry` is a valid next entry of this chain."""
        return position == self.tail + 1 and is_successor(
            entry,
            incarnation=self.incarnation,
            previous=self.tail_id,
            position=position,
            epoch=self.epoch,
            seq=self.next_seq,
        )

    def extended(self, entry: LogEntry, data: bytes) -> "Chain":
        """Return the chain with one more entry; the caller has checked that it `accepts` it."""
        header = entry.header
        return replace(
            self,
            tail=header.position,
            tail_id=header.commit_id,
            epoch=header.epoch,
            incarnation=header.incarnation,
            next_seq=entry.next_seq,
            log_time_us=header.log_time_us,
            entries=(*self.entries, entry),
            entry_bytes=(*self.entry_bytes, data),
            closed=header.kind == Kind.CLOSE,
        )

    def rebased(self, base: BackPointer, manifest: Manifest) -> "Chain | None":
        """Return this chain on a newer checkpoint, as loading it anew would give it.

        Args:
            base: The checkpoint; its entry is in this chain.
            manifest: The one that `base` names, its checksum verified.

        Returns:
            None when the manifest is not of this chain.
        """
        chain = Chain.on(base, manifest)
        for position, (entry, data) in self.stored.items():
            if position <= base.through:
                continue
            if not chain.accepts(entry, position):
                return None
            chain = chain.extended(entry, data)
        return chain
