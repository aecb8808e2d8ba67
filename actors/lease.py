"""Being sure that nobody else wrote: the confirmation that reads and refusals need before they may be answered.

An answer that depends on "nobody wrote since" is given only if, at most `read_lease_s` before it, a commit of ours had
begun that then landed, or a look at the next log position had begun that found it empty (rule 15).
"""

import asyncio
from collections.abc import Callable

from parquedb.actors.state import NamespaceState
from parquedb.clock import Clock
from parquedb.errors import CorruptionError, ObjectNotFoundError, ParqueDBError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.log import decode_entry, entry_key

_SETTLING_S = 0.005


class Lease:
    """The newest proof of ownership.

    Args:
        state: Whose tail is looked beyond.
        storage: Where the log is.
        clock: Boot clock; a paused machine must notice the pause.
        read_lease_s: How old a proof may be; 0 makes every answer wait for a proof begun after the question.
        is_ours: Whether a commit id is that of the write now in flight.
        on_rival: Called once somebody else's entry is found.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        state: NamespaceState,
        storage: StorageBackend,
        clock: Clock,
        read_lease_s: float,
        *,
        is_ours: Callable[[bytes], bool],
        on_rival: Callable[[], ParqueDBError],
    ) -> None:
        self._state = state
        self._storage = storage
        self._clock = clock
        self._read_lease_s = read_lease_s
        self._is_ours = is_ours
        self._on_rival = on_rival
        self._anchor_s = float("-inf")
        self._check: asyncio.Task[None] | None = None

    def confirmed(self, start_s: float) -> None:
        """Note a proof that began at boot-clock time `start_s`."""
        self._anchor_s = max(self._anchor_s, start_s)

    def holds(self) -> bool:
        """Whether an answer may be given now."""
        return self._clock.boot_s() - self._anchor_s <= self._read_lease_s

    async def confirm(self) -> None:
        """Return once a proof is fresh enough for an answer given at once.

        Raises:
            FencedError: somebody else owns the namespace now.
            ParqueDBError: storage could not be asked.
        """
        asked_s = self._clock.boot_s()
        # A proof begun after the question is good for it, however long its answer took to come.
        while not self.holds() and self._anchor_s < asked_s:
            if self._check is None or self._check.done():
                self._check = asyncio.ensure_future(self._look())
            await asyncio.shield(self._check)

    async def _look(self) -> None:
        start_s = self._clock.boot_s()
        tail = self._state.tail
        key = self._state.prefix + entry_key(tail + 1)
        try:
            found = await self._storage.read(key)
        except ObjectNotFoundError:
            # 404 is proof only because fences are kept: a successor's `open` at this position is never collected.
            self.confirmed(start_s)
            return
        try:
            commit_id = decode_entry(key, found).header.commit_id
        except CorruptionError:
            raise self._on_rival() from None
        if self._state.tail > tail or self._is_ours(commit_id):
            await self._clock.sleep(_SETTLING_S)  # Our own commit, about to be settled; its landing is the proof.
            return
        raise self._on_rival()
