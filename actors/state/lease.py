"""Being sure that nobody else wrote: the confirmation that reads and refusals need before they may be answered.

An answer that depends on "nobody wrote since" is given only if, at most `read_lease_s` before it, a commit of ours had
begun that then landed, or a look at the next log position had begun that found it empty (rule 15).

Who removes a namespace by hand and restores it under a living owner makes that position empty again: the owner would
write beyond a gap. So after a pause it looks back as well, at the entry that it stands on.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.clock import Clock
from parquedb.errors import CorruptionError, FencedError, ObjectNotFoundError, ParqueDBError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.log.entry import decode_entry, entry_key

LOOK_BACK_S: Final = 10.0
"""Seconds without a commit of ours after which we look back. In less a restore by hand is hardly done, and one
that meets a commit is refused. A look costs a commit a read: who writes every few seconds shall not pay it."""

_ASK_S: Final = 1.0
"""Seconds that a look back may take: a write waits for it, and while storage is down it decides nothing."""


class Lease:
    """The newest proof of ownership.

    Args:
        state: Whose tail is looked beyond.
        storage: Where the log is.
        clock: Boot clock; a paused machine must notice the pause.
        read_lease_s: How old a proof may be; 0 makes every answer wait for a proof begun after the question.
        settled: Set while no commit's fate is open.
        on_rival: Called once somebody else's entry is found, or with why ours is gone; returns what to raise.
    """

    def __init__(  # noqa: PLR0913 - the engine wires it once
        self,
        state: NamespaceState,
        storage: StorageBackend,
        clock: Clock,
        read_lease_s: float,
        *,
        settled: asyncio.Event,
        on_rival: Callable[[ParqueDBError | None], ParqueDBError],
    ) -> None:
        self._state = state
        self._storage = storage
        self._clock = clock
        self._read_lease_s = read_lease_s
        self._settled = settled
        self._over: ParqueDBError | None = None
        self._on_rival = on_rival
        self._anchor_s = float("-inf")
        self._seen_s = clock.boot_s()
        self._check: asyncio.Task[None] | None = None

    def confirmed(self, start_s: float) -> None:
        """Note a proof that began at boot-clock time `start_s`; one that comes after `revoke` is none."""
        if self._over is None:
            self._anchor_s = max(self._anchor_s, start_s)

    def landed(self, start_s: float) -> None:
        """Note that a commit of ours has landed, whose first attempt began at `start_s`."""
        self._seen_s = max(self._seen_s, start_s)
        self.confirmed(start_s)

    async def look_back(self) -> None:
        """See that the entry we stand on is still there, if nothing has shown that lately; to be asked before a commit.

        Raises:
            CorruptionError: it is gone, and this owner's time is over.
        """
        start_s, tail = self._clock.boot_s(), self._state.tail
        if start_s - self._seen_s <= LOOK_BACK_S:
            return
        key, above = (self._state.prefix + entry_key(position) for position in (tail, tail + 1))
        try:
            found = decode_entry(key, await self._storage.read(key, timeout_s=_ASK_S)).header.commit_id
        except ObjectNotFoundError:
            found = b""
        except ParqueDBError:
            return  # A store that cannot be asked: the commit, or the next look, meets the same and settles it.
        if found == self._state.tail_id:
            self._seen_s = max(self._seen_s, start_s)
        elif not await self._is_there(above):  # Else a successor has collected ours; what we meet there says so.
            reason = "it was the newest entry of a living owner: the namespace has been removed or replaced by hand"
            raise self._on_rival(CorruptionError(key=key, reason=reason))

    async def _is_there(self, key: str) -> bool:
        try:
            await self._storage.stat(key, timeout_s=_ASK_S)
        except ObjectNotFoundError:
            return False
        except ParqueDBError:
            return True  # Nobody knows, so nothing is said.
        return True

    def revoke(self, error: ParqueDBError) -> None:
        """Vouch for nothing any more: this owner's time is over."""
        self._over = self._over or error

    def holds(self) -> bool:
        """Whether an answer may be given now."""
        return self._over is None and self._clock.boot_s() - self._anchor_s <= self._read_lease_s

    async def confirm(self) -> None:
        """Return once a proof is fresh enough for an answer given at once.

        Raises:
            FencedError: somebody else owns the namespace now.
            ParqueDBError: storage could not be asked.
        """
        asked_s = self._clock.boot_s()
        # A proof begun after the question is good for it, however long its answer took to come.
        while not self.holds() and self._anchor_s < asked_s:
            await self._shared_look()

    async def explain(self, error: ParqueDBError) -> ParqueDBError:
        """Return why a read failed: what somebody else took over and collected looks damaged to its former owner."""
        if isinstance(error, CorruptionError):
            asked_s = self._clock.boot_s()
            try:
                while self._anchor_s < asked_s:
                    await self._shared_look()
            except FencedError as fenced:
                return fenced
            except ParqueDBError:
                return error
        return error

    async def _shared_look(self) -> None:
        if self._over is not None:
            raise self._over
        if self._check is None or self._check.done():
            self._check = asyncio.ensure_future(self._look())
        await asyncio.shield(self._check)

    async def _look(self) -> None:
        if not self._settled.is_set():
            # What we have sent may stand beyond the tail, may have been built upon by a successor and been collected:
            # then 404 would prove nothing. The commit's own landing is the proof.
            await self._settled.wait()
            return
        start_s = self._clock.boot_s()
        tail = self._state.tail
        key = self._state.prefix + entry_key(tail + 1)
        try:
            await self._storage.read(key)
        except ObjectNotFoundError:
            if self._settled.is_set() and self._state.tail == tail:
                await self.look_back()
            if self._settled.is_set() and self._state.tail == tail:
                # 404 is proof only because fences are kept: a successor's `open` at this position is never collected.
                self.confirmed(start_s)
            return
        if self._state.tail == tail and self._settled.is_set():
            raise self._on_rival(None)
