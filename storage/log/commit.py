"""Getting one create-only write to a certain end: landed, no, or, when storage can't tell, unknown.

A lost reply says nothing and a 404 afterwards proves nothing, for the packet may still be on its way. So the same
bytes are sent again until the store itself settles it with a success or a refusal (rules 9 to 11).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from parquedb.clock import Clock
from parquedb.errors import (
    AlreadyExistsError,
    CircuitOpenError,
    ConcurrentModificationError,
    CorruptionError,
    NewerFormatError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    ParqueDBError,
    StorageFailedError,
    StorageWriteError,
)
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.retry import attempt
from parquedb.storage.log.entry import Kind, LogEntry, decode_entry, entry_key, position_of

BACKOFF_FIRST_S: Final = 0.02
BACKOFF_MAX_S: Final = 1.0
LISTING_MAX: Final = 1000


class Settled(Enum):
    """How a create-only write ended."""

    LANDED = "landed"
    FOREIGN = "foreign"
    """Somebody else's object holds the key."""
    VANISHED = "vanished"
    """The key was taken and is now gone: it was collected, and whose it was can't be told."""
    UNKNOWABLE = "unknowable"
    """An attempt is in doubt and the store takes no other from this process (rule 28)."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a create-only write.

    Attributes:
        how: See `Settled`.
        attempts: Create requests that were sent, at least 1; those that an open circuit refused are none.
        first_attempt_s: Boot-clock seconds when the first of them started.
        found: The bytes that hold the key, when they are somebody else's.
    """

    how: Settled
    attempts: int
    first_attempt_s: float
    found: bytes | None = None


class Committer:
    """Sends create-only writes until each is settled.

    Args:
        storage: Where to; its layers may refuse (breaker) but never retry a create.
        clock: For backing off, and for stamping the first attempt.
        rng: For jitter.
    """

    def __init__(self, storage: StorageBackend, clock: Clock, rng: random.Random) -> None:
        self._storage = storage
        self._clock = clock
        self._rng = rng

    async def settle(
        self,
        key: str,
        data: bytes,
        *,
        is_ours: Callable[[bytes], bool] | None = None,
        on_doubt: Callable[[ParqueDBError], None] | None = None,
    ) -> Settlement:
        """Create `key` and return when its fate is certain, however long storage stays silent.

        Args:
            key: Nobody ever deletes and re-creates it with other bytes of ours.
            data: Must hold something only this write would write.
            is_ours: Whether stored bytes are this write's; equality when not given.
            on_doubt: Told after each attempt that left the fate open.

        Raises:
            ParqueDBError: a definite *no*: every attempt so far was refused before it could be applied. Once an attempt
                is in doubt nothing is raised any more.
        """
        first_attempt_s = self._clock.boot_s()
        attempts, in_doubt, delay_s = 0, False, BACKOFF_FIRST_S
        while True:
            attempts += 1
            try:
                with attempt(attempts):
                    await self._storage.create(key, data)
            except AlreadyExistsError:
                how, found = await self._whose(key, data, is_ours)
                return Settlement(how, attempts, first_attempt_s, found)
            except OutcomeUnknownError as error:
                in_doubt = True
                doubt: ParqueDBError = error
            except ConcurrentModificationError as error:
                doubt = error  # 409: two creates met and neither is decided. The same bytes again decide it.
            except ParqueDBError as error:
                if not in_doubt:
                    raise
                if isinstance(error, StorageFailedError):
                    return Settlement(Settled.UNKNOWABLE, attempts, first_attempt_s)
                attempts -= isinstance(error, CircuitOpenError)  # Refused on this side: nothing was sent.
                doubt = error
            else:
                return Settlement(Settled.LANDED, attempts, first_attempt_s)
            if on_doubt is not None:
                on_doubt(doubt)
            delay_s = await self._pause(delay_s, doubt)

    async def store(self, key: str, data: bytes) -> None:
        """Store an object under a name that nobody else uses.

        Raises:
            StorageFailedError: it may be stored or not, and nobody can find out.
            ParqueDBError: it is certain that it was not stored.
        """
        settlement = await self.settle(key, data)
        if settlement.how is Settled.UNKNOWABLE:
            raise StorageFailedError(f"the store lost {key}", key=key)
        if settlement.how is not Settled.LANDED:
            raise StorageWriteError(f"somebody else's object is at the fresh name {key}", key=key)

    async def _whose(
        self, key: str, data: bytes, is_ours: Callable[[bytes], bool] | None
    ) -> tuple[Settled, bytes | None]:
        delay_s = BACKOFF_FIRST_S
        while True:
            try:
                found = await self._storage.read(key)
            except ObjectNotFoundError:
                return Settled.VANISHED, None
            except ParqueDBError as error:
                delay_s = await self._pause(delay_s, error)
                continue
            ours = found == data or (is_ours is not None and is_ours(found))
            return (Settled.LANDED, None) if ours else (Settled.FOREIGN, found)

    async def settle_entry(
        self, prefix: str, entry: LogEntry, data: bytes, *, on_doubt: Callable[[ParqueDBError], None] | None = None
    ) -> tuple[Settlement, bool | None]:
        """Create a log entry; also say what a foreign entry at its position means (rule 11).

        Args:
            prefix: The namespace's, ending in `/`.
            entry: What `data` encodes.
            data: Bytes of the entry.
            on_doubt: See `settle`.

        Returns:
            The settlement, and whether the entry is part of the chain: True, False, or None when it can't be known.

        Raises:
            ParqueDBError: a definite *no*, see `settle`.
        """
        key = prefix + entry_key(entry.header.position)
        commit_id = entry.header.commit_id

        def is_ours(found: bytes) -> bool:
            return _commit_id(key, found) == commit_id

        settlement = await self.settle(key, data, is_ours=is_ours, on_doubt=on_doubt)
        if settlement.how is Settled.LANDED:
            return settlement, True
        if settlement.found is None:
            return settlement, None  # Vanished, or unknowable.
        foreign_id = _commit_id(key, settlement.found)
        if foreign_id is None:
            return settlement, None  # Damaged in the store, or on its way here: it may be our own.
        if entry.header.kind == Kind.OPEN:
            return settlement, False  # A fence is never collected (rule 19): had ours landed, it would be there.
        return settlement, await self._overtaken(prefix, entry, foreign_id)

    async def _overtaken(self, prefix: str, entry: LogEntry, foreign_id: bytes) -> bool | None:
        """Whether `entry` landed before the foreign entry now at its position did: ours may have been collected."""
        position, delay_s = entry.header.position, BACKOFF_FIRST_S
        while True:
            try:
                page = await self._storage.list(prefix + "log/", limit=LISTING_MAX)
                newest = position_of(page.objects[0].key) if page.objects else 0
                if newest <= position:
                    # Less than what we have just read there is no listing to decide by.
                    return False if newest == position else None
                above = prefix + entry_key(position + 1)
                previous = decode_entry(above, await self._storage.read(above)).header.previous
            except (ObjectNotFoundError, CorruptionError, NewerFormatError):
                return None
            except ParqueDBError as error:
                delay_s = await self._pause(delay_s, error)
                continue
            if previous == entry.header.commit_id:
                return True
            return False if previous == foreign_id else None

    async def _pause(self, delay_s: float, error: ParqueDBError) -> float:
        """Wait with full jitter, at least as long as an open breaker asks; return the next delay."""
        wait_s = self._rng.random() * delay_s
        if isinstance(error, CircuitOpenError):
            wait_s = max(wait_s, error.retry_after or 0.0)
        await self._clock.sleep(wait_s)
        return min(2 * delay_s, BACKOFF_MAX_S)


def _commit_id(key: str, data: bytes) -> bytes | None:
    """Return the commit id of stored bytes; None when they are no entry that can be read (so not ours)."""
    try:
        return decode_entry(key, data).header.commit_id
    except (CorruptionError, NewerFormatError):
        return None
