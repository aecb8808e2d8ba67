"""Reading a namespace's chain from storage and taking ownership of it.

Three round trips at any length of history: two LISTs; one parallel batch of GETs; the create of our `open` entry with
the segments loading beside it. A fourth, a LIST that verifies nobody came after us, overlaps the wait for the previous
owner's read lease. Rule numbers are those of `docs/protocol.md`.
"""

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import Final

from parquedb.clock import Clock
from parquedb.documents.codec import encode
from parquedb.errors import CorruptionError, FencedError, ObjectNotFoundError, TimeoutError  # noqa: A004 - ours
from parquedb.settings import EngineSettings
from parquedb.storage.backend import ListPage, StorageBackend
from parquedb.storage.log.chain import Chain
from parquedb.storage.log.commit import Committer, Settled
from parquedb.storage.log.entry import (
    BackPointer,
    Header,
    Kind,
    LogEntry,
    decode_entry,
    encode_entry,
    entry_key,
    position_of,
)
from parquedb.storage.log.manifest import Manifest, decode_manifest, through_of, verify_object
from parquedb.storage.log.segments import SegmentLoader

LEASE_MARGIN: Final = 1.25
"""How much longer than the previous owner's lease a new owner waits: clocks may differ in rate (rule 16)."""

RESTARTS_MAX: Final = 50
_BACKOFF_FIRST_S: Final = 0.02
_AMBUSH_S: Final = 0.2
_LISTING_MAX: Final = 1000
_MANIFESTS: Final = 2


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
        self._segments = SegmentLoader(storage, prefix)
        self._listed_s = 0.0
        self._known = Chain()
        """The last chain that was seen whole: what is still above the base when loading starts over is not read again.

        That is sound, for above the newest checkpoint's `through` nothing has ever been collected or replaced.
        """

    async def load(self) -> Chain:
        """Read the chain without taking ownership.

        Raises:
            CorruptionError: an object that the chain needs is missing or invalid, and was again after a new listing.
            TimeoutError: rivals kept moving the chain, or storage was slower than half the log grace, too many times.
        """
        suspect: tuple[object, _Suspect] | None = None
        for _ in range(RESTARTS_MAX):
            self._listed_s = self._clock.boot_s()
            log_page, manifest_page = await asyncio.gather(
                self._storage.list(self._prefix + "log/", limit=_LISTING_MAX),
                self._storage.list(self._prefix + "manifest/", limit=_MANIFESTS),
            )
            if not log_page.objects and not manifest_page.objects:
                return Chain()
            seen = ([info.key for info in log_page.objects[:1]], manifest_page.objects[:1])
            try:
                chain = await self._read(log_page, manifest_page)
            except _Suspect as found:
                if suspect is not None and suspect[0] == seen and suspect[1].key == found.key:
                    raise CorruptionError(key=found.key, reason=found.reason, cause=found.cause) from found.cause
                suspect, self._known = (seen, found), Chain()
                continue
            if self._is_fresh(chain):
                self._known = chain
                return chain
        raise TimeoutError(f"could not load namespace {self._namespace!r}: it kept changing, or storage is too slow")

    def _is_fresh(self, chain: Chain) -> bool:
        """Whether the listing is recent: a slow load may mix in what landed late in collected ground (rule 18)."""
        grace_s = min(chain.log_graces, default=self._settings.log_grace_s)
        return self._clock.boot_s() - self._listed_s < grace_s / 2

    async def _read(self, log_page: ListPage, manifest_page: ListPage) -> Chain:
        if not log_page.objects:
            # Or the listings are of two moments, and it all began in between.
            raise _Suspect(self._prefix + "log/", "manifests exist but the log is empty")
        tail = position_of(log_page.objects[0].key)
        known = self._known.stored
        manifest_keys = [info.key for info in manifest_page.objects]
        # Which of the newest manifests counts is only known from the tail entry, so what either needs is fetched now.
        floor = min((through_of(key) for key in manifest_keys), default=0)
        positions = {position_of(info.key) for info in log_page.objects}
        # The tail is always read: its back pointer says where the base is now.
        wanted = [self._prefix + entry_key(p) for p in sorted(positions) if p == tail or (p > floor and p not in known)]
        known_base = None if self._known.base is None else self._prefix + self._known.base.manifest
        wanted += [key for key in manifest_keys if key != known_base]
        fetched = dict(zip(wanted, await asyncio.gather(*map(self._get, wanted)), strict=True))
        base = (await self._entry(tail, fetched))[0].header.base
        chain = Chain() if base is None else await self._from_base(base, fetched)
        # Normally none: the newest two manifests were orphans, or the listing had holes.
        late = [self._prefix + entry_key(p) for p in range(chain.tail + 1, tail) if p not in known]
        late = [key for key in late if key not in fetched]
        fetched.update(zip(late, await asyncio.gather(*map(self._get, late)), strict=True))
        for position in range(chain.tail + 1, tail + 1):
            kept = known.get(position) if position < tail else None
            entry, data = kept or await self._entry(position, fetched)
            if not chain.accepts(entry, position):
                raise _Suspect(self._prefix + entry_key(position), "does not follow the entry before it")
            chain = chain.extended(entry, data)
        return replace(chain, base=base)

    async def _from_base(self, base: BackPointer, fetched: dict[str, bytes | None]) -> Chain:
        manifest = self._known.manifest
        if manifest is None or self._known.base != base:
            manifest = await self._manifest(base, fetched.get(self._prefix + base.manifest))
        return Chain.on(base, manifest)

    async def _manifest(self, base: BackPointer, data: bytes | None = None) -> Manifest:
        key = self._prefix + base.manifest
        data = data or await self._get(key)
        if data is None:
            raise _Suspect(key, f"missing, though the checkpoint at {base.position} names it")
        try:
            return decode_manifest(key, verify_object(key, data, base.checksum))
        except CorruptionError as error:
            raise _Suspect(key, error.reason or error.message, error) from error

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
        try:
            for _ in range(RESTARTS_MAX):
                chain = await self.load()
                self._segments.want(chain.manifest)
                taken = await self._take(chain)
                opened = None if taken is None else await self._verify(*taken)
                if opened is not None:
                    return opened
                await self._clock.sleep(self._rng.random() * delay_s)
                delay_s = min(2 * delay_s, 1.0)
        finally:
            self._segments.stop()
        raise TimeoutError(f"could not open namespace {self._namespace!r}: rivals kept opening it")

    async def _take(self, chain: Chain) -> tuple[Chain, Chain] | None:
        """Land our `open`; return the chain before and with it, or None when the chain must be loaded again."""
        while self._is_fresh(chain):
            entry = self._open_entry(chain)
            data = encode_entry(entry)
            settlement, landed = await self._committer.settle_entry(self._prefix, entry, data)
            if settlement.how is Settled.LANDED:
                return chain, chain.extended(entry, data)
            if settlement.found is None or landed is not False:
                return None
            absorbed = await self._absorbed(chain, settlement.found)
            if absorbed is None or (absorbed := await self._caught_up(absorbed)) is None:
                return None
            chain = absorbed
        return None

    async def _caught_up(self, chain: Chain) -> Chain | None:
        """Absorb what a busy rival appended, then wait a little for its next entry: right after it we may be first."""
        at_tail, end_s = False, self._clock.boot_s() + _AMBUSH_S
        while self._clock.boot_s() < end_s:
            if (data := await self._get(self._prefix + entry_key(chain.tail + 1))) is None:
                at_tail = True
                await self._clock.sleep(_AMBUSH_S / 200)
            elif (absorbed := await self._absorbed(chain, data)) is None or at_tail:
                return absorbed
            else:
                chain = absorbed
        return chain

    async def _absorbed(self, chain: Chain, data: bytes) -> Chain | None:
        """Return the chain with a rival's entry behind it, or None when it must be loaded again."""
        try:
            entry = decode_entry(self._prefix + entry_key(chain.tail + 1), data)
        except CorruptionError:
            return None
        if not chain.accepts(entry, chain.tail + 1):
            return None
        header = entry.header
        if header.kind == Kind.OPEN:
            raise FencedError(namespace=self._namespace, epoch=header.epoch)
        longer: Chain | None = chain.extended(entry, data)
        if longer is not None and header.base != chain.base:
            longer = await self._rebased(longer, header.base)
        self._known = longer or self._known
        return longer

    async def _rebased(self, chain: Chain, base: BackPointer | None) -> Chain | None:
        """Return the chain on the base that a rival's checkpoint made, or None when it must be loaded again."""
        try:
            rebased = None if base is None else chain.rebased(base, await self._manifest(base))
        except _Suspect:
            return None  # The next checkpoint has replaced it already, or it is damaged: loading tells.
        if rebased is not None:
            self._segments.want(rebased.manifest)
        return rebased

    async def _verify(self, before: Chain, taken: Chain) -> Opened | None:
        landed_s = self._clock.boot_s()
        page = await self._storage.list(self._prefix + "log/", limit=1)
        if not page.objects or position_of(page.objects[0].key) != taken.tail:
            return None
        wait_s = 0.0
        if before.tail and not before.closed:
            wait_s = LEASE_MARGIN * max(before.read_leases)
        return Opened(taken, await self._segments.loaded(), confirmed_s=landed_s, answer_at_s=landed_s + wait_s)

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
