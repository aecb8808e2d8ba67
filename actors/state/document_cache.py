"""Documents as they travel: encoded once, answered many times."""

from collections import OrderedDict

_ENTRY_BYTES = 200
"""What an entry costs beside its bytes."""


class DocumentCache:
    """Encoded documents by bare id, the least recently used ones dropped first.

    Holds only what is committed: whoever applies a change to a document forgets it here in the same step.

    Args:
        bytes_max: Bound of the documents kept, in bytes.

    Invariant:
        D1. `bytes` is the sum over all entries, and at most `bytes_max`.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id_: str) -> bytes | None:
        """Return a document's encoded form; None when it is not here."""
        encoded = self._entries.get(id_)
        if encoded is not None:
            self._entries.move_to_end(id_)
        return encoded

    def put(self, id_: str, encoded: bytes) -> None:
        """Keep the committed state of a document."""
        entries = self._entries
        old = entries.pop(id_, None)
        if old is not None:
            self.bytes -= len(old) + _ENTRY_BYTES
        cost = len(encoded) + _ENTRY_BYTES
        if cost > self._bytes_max:
            return
        entries[id_] = encoded
        self.bytes += cost
        while self.bytes > self._bytes_max:
            _, oldest = self._entries.popitem(last=False)
            self.bytes -= len(oldest) + _ENTRY_BYTES

    def renew(self, id_: str, encoded: bytes | None) -> None:
        """Take the next committed state of a document; None where nobody has encoded it yet."""
        if encoded is None:
            self.forget(id_)
        else:
            self.put(id_, encoded)

    def forget(self, id_: str) -> None:
        """Drop a document that changes."""
        encoded = self._entries.pop(id_, None)
        if encoded is not None:
            self.bytes -= len(encoded) + _ENTRY_BYTES
