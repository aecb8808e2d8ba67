"""What imports and exports come to."""

from dataclasses import dataclass
from pathlib import Path

from parquedb.storage.exchange.row_pieces import RowError

__all__ = ["ExportResult", "ImportResult", "RowError"]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import stored.

    Attributes:
        rows: Documents stored.
        skipped: Rows left out; 0 unless `on_error="skip"`.
        errors: Why, of the first 100 of them that were met, by line.
        bytes: Size of the file.
        seconds: From the call to the last acknowledgement.
    """

    rows: int
    skipped: int
    errors: tuple[RowError, ...]
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        path: The file.
        rows: Documents in it.
        bytes: Its size.
        seq: Seq of the last change that it shows.
        seconds: From the call until the file was in its place.
    """

    path: Path
    rows: int
    bytes: int
    seq: int
    seconds: float
