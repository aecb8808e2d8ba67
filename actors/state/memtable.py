"""The documents that changed since the last flush, newest state only."""

from collections.abc import Callable, Iterator
from typing import Any

from parquedb.storage.files.data_files import Location
from parquedb.storage.log.events import Created


class Row:
    """The latest state of one document.

    Attributes:
        seq: Of its last change.
        location: Its superseded row in a data file, to be marked dead by the next flush.
        resolved: Whether `location` is known; False after replay until somebody needs it.
        size: Estimated bytes.
    """

    __slots__ = ("_document", "_packed", "location", "resolved", "seq", "size")

    def __init__(  # noqa: PLR0913, PLR0917 - one of these for each write: positions are quicker than names
        self,
        document: dict[str, Any] | None,
        packed: tuple[Created, int] | None,
        seq: int,
        location: Location | None,
        resolved: bool,
        size: int,
    ) -> None:
        self._document = document
        self._packed = packed
        self.seq = seq
        self.location = location
        self.resolved = resolved
        self.size = size

    @property
    def exists(self) -> bool:
        """Whether there is a document; False after a hard delete."""
        return self._packed is not None or self._document is not None

    @property
    def packed(self) -> tuple[Created, int] | None:
        """The run and the place in it that `document` has yet to be decoded from; None once it has been."""
        return self._packed

    @property
    def document(self) -> dict[str, Any] | None:
        """The whole document; None after a hard delete. Safe to ask from other threads."""
        packed = self._packed
        if packed is None:
            return self._document
        created, at = packed
        # In this order: who sees no `packed` sees the document.
        self._document = document = created.document(at)
        self._packed = None
        return document

    def change(self, document: dict[str, Any] | None, seq: int, size: int) -> None:
        """Take the next state."""
        self._document, self._packed, self.seq, self.size = document, None, seq, size


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
            self.rows[id_] = Row(document, None, seq, location, resolved, size)
            if not resolved:
                self.unresolved.add(id_)
        else:
            self.bytes -= row.size
            row.change(document, seq, size)
        self.bytes += size

    def put_created(self, created: Created, first_seq: int) -> None:
        """Store documents whose ids are fresh, so that nothing is superseded."""
        rows = self.rows
        for at, (id_, size) in enumerate(zip(created.ids, created.sizes, strict=True)):
            rows[id_] = Row(None, (created, at), first_seq + at, None, True, size)
        self.bytes += len(created.encoded)

    def resolve(self, id_: str, location: Location | None) -> None:
        """Set the place in the data files of a row whose place was unknown, or has just come to be."""
        row = self.rows[id_]
        row.location, row.resolved = location, True
        self.unresolved.discard(id_)

    def versions(self) -> list[tuple[dict[str, Any], int]]:
        """Return the documents that exist, each with the seq of its last change.

        May run in another thread while nobody puts anything: documents still encoded are decoded for this alone.
        """
        versions: list[tuple[dict[str, Any], int]] = []
        decoded: dict[int, list[dict[str, Any]]] = {}
        for row in self.rows.values():
            packed = row.packed
            if packed is None:
                document = row.document
            else:
                created, at = packed
                # A run of creates is decoded at once, for nearly all of it is still here.
                run = decoded.get(id(created)) or decoded.setdefault(id(created), created.documents())
                document = run[at]
            if document is not None:
                versions.append((document, row.seq))
        return versions

    def packed(self) -> list[Row]:
        """Return the rows whose documents are still encoded."""
        return [row for row in self.rows.values() if row.packed is not None]

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield the documents that exist, soft-deleted ones included."""
        return (document for row in self.rows.values() if (document := row.document) is not None)
