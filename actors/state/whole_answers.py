"""How many whole documents are remembered as answers to retries: bounded by bytes, over all clients."""

import weakref
from collections import deque
from typing import Any, Final, Protocol

_BYTES_MIN: Final = 512
"""What an answer counts for at least, so that the number of them is bounded as well."""


class Thinnable(Protocol):
    """Something that remembers an answer."""

    def thin_out(self) -> None:
        """Keep of its documents what names them: their text is read back when a retry asks for it."""


class WholeAnswers:
    """The answers that hold documents, in the order in which they were given.

    Those who remember them may forget them at any time; this only holds them weakly.

    Args:
        bytes_max: Bytes of documents; beyond it the oldest answers are thinned out.

    Attributes:
        bytes: Held now, estimated; answers that were forgotten may still be counted for a while.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held: deque[tuple[weakref.ref[Any], int]] = deque()
        self.bytes = 0

    def add(self, answer: Thinnable, size: int) -> None:
        """Take note of an answer of so many bytes."""
        size = max(size, _BYTES_MIN)
        self._held.append((weakref.ref(answer), size))
        self.bytes += size
        while self._held and (self.bytes > self._bytes_max or self._held[0][0]() is None):
            oldest, its_size = self._held.popleft()
            self.bytes -= its_size
            found = oldest()
            if found is not None:
                found.thin_out()


def shortened(value: Any) -> Any:
    """Return of an answer what names its documents; other answers as they are."""
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if isinstance(value, dict) and "$id" in value:
        return {name: value[name] for name in ("$id", "version") if name in value}
    return value


def holds_documents(value: Any) -> bool:
    """Whether an answer is a document, or a list with one in it."""
    if isinstance(value, list):
        return any(isinstance(each, dict) and "$id" in each for each in value)
    return isinstance(value, dict) and "$id" in value
