"""A storage layer that counts requests and how many of them had to wait for one another."""

from dataclasses import dataclass, field
from typing import TypeVar

from parquedb.storage.backends.delegating import Call, FunnelBackend

T = TypeVar("T")


@dataclass
class Counted:
    """What a backend was asked for.

    Attributes:
        requests: (operation, key, wave) of every request, in the order they started. A request belongs to the wave
            after the latest wave of which a request had ended before this one started: the number of waves is the
            number of round trips one after another.
    """

    requests: list[tuple[str, str, int]] = field(default_factory=list)
    _ended: int = 0

    @property
    def waves(self) -> int:
        """Round trips one after another."""
        return max((wave for _, _, wave in self.requests), default=0)

    def of(self, *operations: str, below: str = "") -> int:
        """How many requests were one of `operations` (all when none) with a key that starts with `below`."""
        return sum(
            key.startswith(below) and (not operations or operation in operations) for operation, key, _ in self.requests
        )

    def start(self, operation: str, key: str) -> int:
        """Note that a request starts; returns its wave."""
        wave = self._ended + 1
        self.requests.append((operation, key, wave))
        return wave

    def end(self, wave: int) -> None:
        """Note that a request of this wave has ended."""
        self._ended = max(self._ended, wave)

    def clear(self) -> None:
        """Begin anew."""
        self.requests.clear()
        self._ended = 0


class CountingBackend(FunnelBackend):
    """Hands every call on and notes it in `counted`."""

    counted: Counted

    async def _pass(self, call: Call[T]) -> T:
        wave = self.counted.start(call.operation, call.key)
        try:
            return await call.send(self.inner, call.timeout_s)
        finally:
            self.counted.end(wave)
