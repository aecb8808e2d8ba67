"""The documents that changed since the last flush, newest state only."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from parquedb.storage.data_files import Location


@dataclass(slots=True)
class Row:
    """The latest state of one document.

    Attributes:
        document: The whole document; None after a hard delete.
        seq: Of its last change.
        location: Its superseded row in a data file, to be marked dead by the next flush.
        resolved: Whether `location` is known; False after replay until somebody needs it.
        size: Estimated bytes.
    """

    document: dict[str, Any] | None
    seq: int
    location: Location | None
    resolved: bool
    size: int


class Memtable:
    """Rows by bare document id.

    Invariant:
        M1. A document is at most once in the memtable, and `bytes` is the sum of the sizes of its rows.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.bytes = 0
        self.unresolved: set[str] = set()

    def __len__(self) -> int:
        return len(self.rows)

    def put(
        self,
        id_: str,
        document: dict[str, Any] | None,
        seq: int,
        size: int,
        locate: Callable[[str], tuple[Location | None, bool]],
    ) -> None:
        """Store the newest state of a document.

        Args:
            id_: Its bare id.
            document: Its state; None after a hard delete.
            seq: Of this change.
            size: Estimated bytes.
            locate: Called for an id that is new here; says where its row in the data files is, and whether that is
                known at all.
        """
        row = self.rows.get(id_)
        if row is None:
            location, resolved = locate(id_)
            self.rows[id_] = Row(document, seq, location, resolved, size)
            if not resolved:
                self.unresolved.add(id_)
        else:
            self.bytes -= row.size
            row.document, row.seq, row.size = document, seq, size
        self.bytes += size

    def resolve(self, id_: str, location: Location | None) -> None:
        """Set the place in the data files of a row whose place was unknown, or has just come to be."""
        row = self.rows[id_]
        row.location, row.resolved = location, True
        self.unresolved.discard(id_)

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield the documents that exist, soft-deleted ones included."""
        return (row.document for row in self.rows.values() if row.document is not None)
