"""What waits in this process for one destination: first in, first out, bounded by count, bytes and age."""

import random
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from parquedb.admission import Admission, QueueBounds
from parquedb.errors import BackpressureError

T = TypeVar("T")

_SHARE = 0.5
"""Part of an operation's time that it may spend here; the rest is for its way and for the owner's own queue."""


class QueueFull(Exception):  # noqa: N818 - a turn of control that never reaches a user
    """There is no room, or no time, for one more operation here; `refusal` is what its caller is told."""

    def __init__(self, refusal: BackpressureError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Backlog(Generic[T]):
    """Operations that wait until a call can carry them. Not safe to share between threads without a lock.

    Args:
        bounds: How much may wait.
        now: Monotonic seconds.
    """

    def __init__(self, bounds: QueueBounds, now: Callable[[], float]) -> None:
        self._admission = Admission("operations of this process", bounds, _random)
        self._now = now
        self._waiting: deque[tuple[T, int, float]] = deque()
        self._bytes = 0
        self._left_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def held(self) -> tuple[int, int]:
        """Return how many operations wait, and their bytes."""
        return len(self._waiting), self._bytes

    def check(self, size: int, deadline_s: float) -> None:
        """See that there is room for one more; where nobody waits there always is.

        Args:
            size: Its bytes, 0 where they are not known yet.
            deadline_s: When its caller stops waiting.

        Raises:
            QueueFull: there is none, or those in front have waited so long that this one would come too late.
        """
        waiting, admission = self._waiting, self._admission
        if not waiting:
            return
        now_s = self._now()
        ops, oldest_s, left_s = len(waiting), now_s - waiting[0][2], _SHARE * (deadline_s - now_s)
        if admission.broken_bound(ops + 1, self._bytes + size, oldest_s, left_s) is None:
            return
        refusal = admission.refusal(
            ops=1, size=size, queued_ops=ops, queued_bytes=self._bytes, oldest_s=oldest_s, left_s=left_s
        )
        if refusal is not None:
            raise QueueFull(refusal)

    def push(self, entry: T, size: int) -> None:
        """Put one at the end; the caller has checked."""
        self._waiting.append((entry, size, self._now()))
        self._bytes += size

    def take(self, ops_max: int, bytes_max: int, gone: Callable[[T], bool]) -> list[T]:
        """Take from the front what one call carries: at least one if there is any.

        Args:
            ops_max: Operations of the call.
            bytes_max: Their bytes; a single one may have more.
            gone: Tells of whom nobody waits any more; they are dropped.
        """
        waiting = self._waiting
        batch: list[T] = []
        size, first_s = 0, 0.0
        while waiting and len(batch) < ops_max:
            entry, own, since_s = waiting[0]
            if not gone(entry):
                size += own
                if batch and size > bytes_max:
                    break
                first_s = first_s if batch else since_s
                batch.append(entry)
            self._bytes -= own
            waiting.popleft()
        if batch:
            now_s = self._now()
            self._admission.drained(len(batch), now_s - max(self._left_s, first_s))
            self._left_s = now_s
        return batch

    def sweep(self, gone: Callable[[T], bool]) -> None:
        """Drop from the front those of whom nobody waits any more: while no call returns, nothing else does."""
        while self._waiting and gone(self._waiting[0][0]):
            self._bytes -= self._waiting.popleft()[1]

    def remove(self, entry: T) -> bool:
        """Take one out, wherever it is; False when it has left."""
        for at, (each, size, _) in enumerate(self._waiting):
            if each is entry:
                del self._waiting[at]
                self._bytes -= size
                return True
        return False

    def entries(self) -> list[T]:
        """Return all that wait, oldest first."""
        return [entry for entry, _, _ in self._waiting]


# Callers that are refused together must not come back together; nothing here is secret.
_random = random.Random()  # noqa: S311 - jitter
