"""Callers' own request ids: which were applied, for as long as the documented window (rule 26)."""

import hashlib
from collections import OrderedDict
from typing import Final

from parquedb.actors.state.sessions import Receipt
from parquedb.actors.state.whole_answers import WholeAnswers, shortened
from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError, OutcomeUnknownError

CLOCK_SKEW_US: Final = 5_000_000
"""How far apart the clocks of successive owners may be: log time jumps forward by as much when one takes over."""


class RequestIds:
    """Ids given by callers, by 128-bit hash, with what they came to.

    Args:
        ids_max: Ids kept.
        window_us: An id older than this, in log time, may be forgotten.
        whole: Bounds the documents in the answers; None leaves them unbounded.

    Invariant:
        R1. Every forgotten id was recorded at or before log time `floor_us`.
    """

    def __init__(self, ids_max: int, window_us: int, whole: WholeAnswers | None = None) -> None:
        self._whole = whole
        self._ids_max = ids_max
        self._window_us = window_us
        self._table: OrderedDict[bytes, tuple[Receipt, int]] = OrderedDict()
        self._fresh: list[tuple[bytes, Receipt, int]] = []
        self.floor_us = 0

    def __len__(self) -> int:
        return len(self._table)

    def lookup(self, request: str, age_us: int, log_us: int) -> Receipt | None:
        """Return the receipt of an applied request; None when it is new.

        Args:
            request: The caller's id.
            age_us: Microseconds since the caller first sent it; 0 the first time.
            log_us: The log's time now.

        Raises:
            OutcomeUnknownError: a retry so old that its first attempt may have been applied and forgotten.
        """
        found = self._table.get(_digest(request))
        if found is not None:
            return found[0]
        if age_us and self.floor_us and log_us - age_us <= self.floor_us + CLOCK_SKEW_US:
            raise OutcomeUnknownError(
                "this request id was first sent before the window that is remembered; it may have been applied",
                request_id=request,
            )
        return None

    def record(self, request: str, receipt: Receipt, log_us: int) -> None:
        """Remember what a request came to."""
        digest = _digest(request)
        self._table[digest] = (receipt, log_us)
        self._fresh.append((digest, receipt, log_us))
        if self._whole is not None:
            receipt.note_in(self._whole)
        self.expire(log_us)

    def expire(self, log_us: int) -> None:
        """Forget what is beyond the bounds as of a log time."""
        while self._table:
            oldest_us = next(iter(self._table.values()))[1]
            if len(self._table) <= self._ids_max and log_us - oldest_us <= self._window_us:
                return
            self._table.popitem(last=False)
            self.floor_us = max(self.floor_us, oldest_us)

    def take_fresh(self) -> tuple[bytes, int, int] | None:
        """Hand over what was recorded since the last call as a segment.

        Returns:
            Its bytes, the newest log time in it and the number of ids; None when there is nothing new.
        """
        if not self._fresh:
            return None
        fresh, self._fresh = self._fresh, []
        rows = [(digest, r.kind, r.seq, shortened(r.value), log_us) for digest, r, log_us in fresh]
        return encode(rows), fresh[-1][2], len(fresh)

    def load(self, key: str, segment: bytes) -> None:
        """Take in a segment written by an earlier owner; segments come oldest first.

        Raises:
            CorruptionError: it is not a segment of request ids.
        """
        try:
            for digest, kind, seq, value, log_us in decode(segment):
                self._table[digest] = (Receipt(kind, seq, value, thin=isinstance(value, dict)), log_us)
        except (CorruptionError, ValueError, TypeError) as error:
            raise CorruptionError(key=key, reason=f"segment unreadable: {error}", cause=error) from error


def _digest(request: str) -> bytes:
    # Callers choose these, so the hash must resist collisions made on purpose.
    return hashlib.blake2b(request.encode(), digest_size=16).digest()
