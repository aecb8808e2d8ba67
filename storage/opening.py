"""Reading a namespace's chain from storage and taking ownership of it.

Three round trips at any length of history: two LISTs; one parallel batch of GETs; the create of our `open` entry with
the segments loading beside it. A fourth, a LIST that verifies nobody came after us, overlaps the wait for the previous
owner's read lease. Rule numbers are those of `docs/protocol.md`.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from parquedb.clock import Clock
from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError, FencedError, ObjectNotFoundError, TimeoutError  # noqa: A004 - ours
from parquedb.settings import EngineSettings
from parquedb.storage.backend import ListPage, StorageBackend
from parquedb.storage.commit import Committer, Settled
from parquedb.storage.log import (
    GENESIS,
    BackPointer,
    Header,
    Kind,
    LogEntry,
    decode_entry,
    encode_entry,
    entry_key,
    is_successor,
    position_of,
)
from parquedb.storage.manifest import Manifest, Segment, decode_manifest, through_of, verify_object

LEASE_MARGIN: Final = 1.25
"""How much longer than the previous owner's lease a new owner waits: clocks may differ in rate (rule 16)."""

RESTARTS_MAX: Final = 50
_BACKOFF_FIRST_S: Final = 0.02
_AMBUSH_S: Final = 0.2
_LISTING_MAX: Final = 1000
_MANIFESTS: Final = 2


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

    @property
    def leases(self) -> dict[str, float]:
        """What the last owner promised its readers (`read_lease_s`, `log_grace_s`); empty when there was none."""
        for entry in reversed(self.entries):
            if entry.header.kind == Kind.OPEN:
                return dict(decode(entry.body))
        return dict(self.manifest.leases) if self.manifest else {}

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


@dataclass(frozen=True, slots=True)
class Opened:
    """Ownership of a namespace.

    Attributes:
        chain: Ends with our own `open` entry.
        segments: Contents of the manifest's segments by key.
        confirmed_s: Boot-clock start of the LIST that showed our `open` as the newest entry.
        answer_at_s: Boot-clock time before which nothing may be answered (rule 16).
    """

    chain: Chain
    segments: dict[str, bytes]
    confirmed_s: float
    answer_at_s: float


@dataclass(slots=True)
class _Suspect(Exception):  # noqa: N818 - control flow inside `load`, never seen outside
    """An object that should be there is missing or invalid: perhaps collected meanwhile, perhaps damaged."""

    key: str
    reason: str
    cause: Exception | None = field(default=None)


class Opener:
    """Loads and opens one namespace.

    Args:
        storage: Where it lives.
        namespace: Its name, for errors.
        prefix: Its encoded prefix, ending in `/`.
        settings: Supplies the leases that this owner promises.
        clock: Measures the load time and the lease.
        rng: Makes commit ids.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        storage: StorageBackend,
        namespace: str,
        prefix: str,
        settings: EngineSettings,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._storage = storage
        self._namespace = namespace
        self._prefix = prefix
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._committer = Committer(storage, clock, rng)

    async def load(self) -> Chain:
        """Read the chain without taking ownership.

        Raises:
            CorruptionError: an object that the chain needs is missing or invalid, and was again after a new listing.
            TimeoutError: rivals kept moving the chain, or storage was slower than half the log grace, too many times.
        """
        suspect: tuple[object, _Suspect] | None = None
        for _ in range(RESTARTS_MAX):
            started_s = self._clock.boot_s()
            log_page, manifest_page = await asyncio.gather(
                self._storage.list(self._prefix + "log/", limit=_LISTING_MAX),
                self._storage.list(self._prefix + "manifest/", limit=_MANIFESTS),
            )
            if not log_page.objects:
                if manifest_page.objects:
                    raise CorruptionError(key=self._prefix + "log/", reason="manifests exist but the log is empty")
                return Chain()
            seen = (position_of(log_page.objects[0].key), manifest_page.objects[:1])
            try:
                chain = await self._read(log_page, manifest_page)
            except _Suspect as found:
                if suspect is not None and suspect[0] == seen and suspect[1].key == found.key:
                    raise CorruptionError(key=found.key, reason=found.reason, cause=found.cause) from found.cause
                suspect = (seen, found)
                continue
            grace_s = chain.leases.get("log_grace_s", self._settings.log_grace_s)
            # A slower load may have mixed in an entry that landed in collected ground (rule 18).
            if self._clock.boot_s() - started_s < grace_s / 2:
                return chain
        raise TimeoutError(f"could not load namespace {self._namespace!r}: it kept changing, or storage is too slow")

    async def _read(self, log_page: ListPage, manifest_page: ListPage) -> Chain:
        tail = position_of(log_page.objects[0].key)
        manifest_keys = [info.key for info in manifest_page.objects]
        # Which of the newest manifests counts is only known from the tail entry, so what either needs is fetched now.
        floor = min((through_of(key) for key in manifest_keys), default=0)
        positions = {position_of(info.key) for info in log_page.objects}
        wanted = [self._prefix + entry_key(p) for p in sorted(positions) if p > floor or p == tail]
        fetched = dict(
            zip(
                [*wanted, *manifest_keys],
                await asyncio.gather(*(self._get(key) for key in [*wanted, *manifest_keys])),
                strict=True,
            )
        )
        base = (await self._entry(tail, fetched))[0].header.base
        chain = Chain() if base is None else await self._from_base(base, fetched)
        # Normally none: the newest two manifests were orphans, or the listing had holes.
        late = [self._prefix + entry_key(p) for p in range(chain.tail + 1, tail + 1)]
        late = [key for key in late if key not in fetched]
        fetched.update(zip(late, await asyncio.gather(*(self._get(key) for key in late)), strict=True))
        for position in range(chain.tail + 1, tail + 1):
            entry, data = await self._entry(position, fetched)
            if not chain.accepts(entry, position):
                raise _Suspect(self._prefix + entry_key(position), "does not follow the entry before it")
            chain = chain.extended(entry, data)
        return replace(chain, base=base)

    async def _from_base(self, base: BackPointer, fetched: dict[str, bytes | None]) -> Chain:
        key = self._prefix + base.manifest
        data = fetched.get(key) or await self._get(key)
        if data is None:
            raise _Suspect(key, f"missing, though the checkpoint at {base.position} names it")
        try:
            manifest = decode_manifest(key, verify_object(key, data, base.checksum))
        except CorruptionError as error:
            raise _Suspect(key, error.reason or error.message, error) from error
        return Chain(
            tail=manifest.through,
            tail_id=manifest.through_id,
            epoch=manifest.epoch,
            incarnation=manifest.incarnation,
            next_seq=manifest.next_seq,
            log_time_us=manifest.log_time_us,
            base=base,
            manifest=manifest,
        )

    async def _entry(self, position: int, fetched: dict[str, bytes | None]) -> tuple[LogEntry, bytes]:
        """Return an entry, asking storage once more where the batch had it missing or damaged (rule 7)."""
        key = self._prefix + entry_key(position)
        problem = _Suspect(key, f"log entry {position} is missing")
        for data in (fetched.get(key), None):
            data = data if data is not None else await self._get(key)  # noqa: PLW2901 - the second try reads afresh
            if data is None:
                continue
            try:
                return decode_entry(key, data), data
            except CorruptionError as error:
                problem = _Suspect(key, error.reason or error.message, error)
        raise problem

    async def _get(self, key: str) -> bytes | None:
        try:
            return await self._storage.read(key)
        except ObjectNotFoundError:
            return None

    async def open(self) -> Opened:
        """Take ownership: land an `open` entry and see that nobody came after it (rule 17).

        Raises:
            FencedError: a rival opened at the same moment; resolve the name again.
            CorruptionError: see `load`.
            ParqueDBError: storage refused.
        """
        delay_s = _BACKOFF_FIRST_S
        for _ in range(RESTARTS_MAX):
            chain = await self.load()
            segments = asyncio.ensure_future(self._segments(chain.manifest))
            try:
                taken = await self._take(chain)
                if taken is not None:
                    opened = await self._verify(*taken, segments)
                    if opened is not None:
                        return opened
            finally:
                segments.cancel()
            await self._clock.sleep(self._rng.random() * delay_s)
            delay_s = min(2 * delay_s, 1.0)
        raise TimeoutError(f"could not open namespace {self._namespace!r}: rivals kept opening it")

    async def _take(self, chain: Chain) -> tuple[Chain, Chain] | None:
        """Land our `open`; return the chain before and with it, or None when the chain must be loaded again."""
        while True:
            entry = self._open_entry(chain)
            data = encode_entry(entry)
            settlement, landed = await self._committer.settle_entry(self._prefix, entry, data)
            if settlement.how is Settled.LANDED:
                return chain, chain.extended(entry, data)
            if settlement.found is None or landed is not False:
                return None
            absorbed = self._absorbed(chain, settlement.found)
            if absorbed is None or (absorbed := await self._caught_up(absorbed)) is None:
                return None
            chain = absorbed

    async def _caught_up(self, chain: Chain) -> Chain | None:
        """Absorb what a busy rival appended, then wait a little for its next entry: right after it we may be first."""
        at_tail, end_s = False, self._clock.boot_s() + _AMBUSH_S
        while self._clock.boot_s() < end_s:
            if (data := await self._get(self._prefix + entry_key(chain.tail + 1))) is None:
                at_tail = True
                await self._clock.sleep(_AMBUSH_S / 200)
            elif (absorbed := self._absorbed(chain, data)) is None or at_tail:
                return absorbed
            else:
                chain = absorbed
        return chain

    def _absorbed(self, chain: Chain, data: bytes) -> Chain | None:
        """Return the chain with a rival's entry behind it, or None when it must be loaded again."""
        try:
            entry = decode_entry(self._prefix + entry_key(chain.tail + 1), data)
        except CorruptionError:
            return None
        # A checkpoint moved the base: its manifest must be read.
        if entry.header.kind == Kind.CHECKPOINT or not chain.accepts(entry, chain.tail + 1):
            return None
        if entry.header.kind == Kind.OPEN:
            raise FencedError(namespace=self._namespace, epoch=entry.header.epoch)
        return chain.extended(entry, data)

    async def _verify(self, before: Chain, taken: Chain, segments: "asyncio.Future[dict[str, bytes]]") -> Opened | None:
        landed_s = self._clock.boot_s()
        page = await self._storage.list(self._prefix + "log/", limit=1)
        if not page.objects or position_of(page.objects[0].key) != taken.tail:
            return None
        wait_s = 0.0
        if before.tail and not before.closed:
            wait_s = LEASE_MARGIN * max(before.read_leases)
        return Opened(taken, await segments, confirmed_s=landed_s, answer_at_s=landed_s + wait_s)

    def _open_entry(self, chain: Chain) -> LogEntry:
        leases = {"read_lease_s": self._settings.read_lease_s, "log_grace_s": self._settings.log_grace_s}
        now_us = int(self._clock.now().timestamp() * 1_000_000)
        position = chain.tail + 1
        header = Header(
            incarnation=chain.incarnation if chain.tail else self._rng.randbytes(16),
            position=position,
            commit_id=self._rng.randbytes(16),
            previous=chain.tail_id,
            epoch=position,
            kind=Kind.OPEN,
            first_seq=chain.next_seq,
            count=0,
            log_time_us=max(chain.log_time_us, now_us),
            base=chain.base,
        )
        return LogEntry(header, encode(leases))

    async def _segments(self, manifest: Manifest | None) -> dict[str, bytes]:
        """Load and verify every segment that the manifest refers to."""
        wanted: Sequence[Segment] = (*manifest.tails, *manifest.request_ids) if manifest else ()

        async def load(segment: Segment) -> tuple[str, bytes]:
            key = self._prefix + segment.key
            try:
                return segment.key, verify_object(key, await self._get(key) or b"", segment.checksum)
            except CorruptionError:
                data = await self._get(key)  # Once more, as for entries (rule 7).
            if data is None:
                raise CorruptionError(key=key, reason="missing, though the manifest names it")
            return segment.key, verify_object(key, data, segment.checksum)

        return dict(await asyncio.gather(*(load(segment) for segment in wanted)))
