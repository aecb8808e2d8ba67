"""What `explain` says of a query."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the filter. That soft-deleted documents are hidden is one too.

    Attributes:
        path: Of the field, dotted.
        operator: Such as `$gt`.
        by_columns: In so many of the files looked at, typed columns alone decide it.
        by_documents: In so many, some documents may have to be asked: values that do not fit their column, arrays of
            documents, operators that a column cannot tell.
    """

    path: str
    operator: str
    by_columns: int
    by_documents: int


@dataclass(frozen=True, slots=True)
class FileScan:
    """What a query looks at of one data file.

    Attributes:
        key: The object, relative to the namespace.
        how: `scanned`; `ruled out` by statistics; `counted` by statistics; `not needed`, since the answer was complete.
        rows: Rows in it, dead ones included.
        bytes: Size of the object.
        dead_rows: Rows superseded since it was written.
        row_groups_scanned: Row groups looked at.
        row_groups_skipped: The others.
        rows_scanned: Rows of the row groups looked at.
        rows_skipped: The others.
        bytes_scanned: Stored bytes of the columns looked at, in those row groups.
        bytes_skipped: Of all other columns and row groups.
    """

    key: str
    how: str
    rows: int
    bytes: int
    dead_rows: int
    row_groups_scanned: int
    row_groups_skipped: int
    rows_scanned: int
    rows_skipped: int
    bytes_scanned: int
    bytes_skipped: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a query is carried out. With `queryPlanner` it is not run, and numbers are the most that statistics leave.

    Attributes:
        operation: `find` or `count`.
        verbosity: `queryPlanner` or `executionStats`.
        plan: `id_order`: matches in order of `$id`, as many as asked for. `top_k`: all matches are compared by what
            they sort by, and the first are kept. `count`.
        conditions: Of the filter, at most 100.
        files: The first 100 data files.
        files_left_out: Data files not among `files`; all other numbers are of all files.
        files_scanned: Files of which some row group is looked at.
        files_skipped: The others.
        row_groups_scanned, row_groups_skipped, rows_scanned, rows_skipped, bytes_scanned, bytes_skipped, dead_rows:
            Sums; see `FileScan`.
        memory_rows: Documents that are in no file yet.
        returned: Documents found or counted; None if it has not run, as is what follows.
        documents_tested: Documents that the filter was applied to one by one, those in memory included.
        storage_reads: Calls to the store that this query began.
        storage_bytes: Bytes that they returned.
        cached: Whether there were none.
        duration_s: Seconds in the owner, without waiting for its turn.
    """

    operation: str
    verbosity: str
    plan: str
    conditions: tuple[Condition, ...]
    files: tuple[FileScan, ...]
    files_left_out: int
    files_scanned: int
    files_skipped: int
    row_groups_scanned: int
    row_groups_skipped: int
    rows_scanned: int
    rows_skipped: int
    bytes_scanned: int
    bytes_skipped: int
    dead_rows: int
    memory_rows: int
    returned: int | None = None
    documents_tested: int | None = None
    storage_reads: int | None = None
    storage_bytes: int | None = None
    cached: bool | None = None
    duration_s: float | None = None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Explanation":
        """Return the owner's answer as this."""
        parts = {
            "conditions": tuple(Condition(**one) for one in answer["conditions"]),
            "files": tuple(FileScan(**one) for one in answer["files"]),
        }
        return cls(**{**answer, **parts})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)
