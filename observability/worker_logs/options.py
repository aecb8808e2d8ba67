"""What a view of the worker logs can be told: how much it buffers, when it stores, whether it looks after the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parquedb.clock import Clock
from parquedb.errors import InvalidInputError
from parquedb.observability.worker_logs.rows import Redact
from parquedb.observability.worker_logs.upkeep import UpkeepOptions

BUFFER_ROWS_MAX: Final = 100_000
BUFFER_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class WorkerLogsOptions:
    """How one view buffers and stores.

    Attributes:
        flush_threshold: Rows that wait and start a flush.
        flush_interval_s: Seconds that a row waits at most.
        buffer_rows_max: Rows that wait at most; what comes beyond is dropped and counted.
        buffer_bytes_max: The same in bytes.
        script: What this program is called in rows that do not say; the name of the running script when None.
        worker: What this process is called in rows that do not say; `<host>:<pid>` when None.
        redact: Applied to each record before anything of it is kept; a record that it fails on is rejected.
        upkeep: How often this view, or another one that looks after the same files, merges and expires them; this one
            leaves them alone when None.
        clock: Tells the time of records that bring none; the machine's when None.
    """

    flush_threshold: int = 1_000
    flush_interval_s: float = 30.0
    buffer_rows_max: int = BUFFER_ROWS_MAX
    buffer_bytes_max: int = BUFFER_BYTES_MAX
    script: str | None = None
    worker: str | None = None
    redact: Redact | None = None
    upkeep: UpkeepOptions | None = None
    clock: Clock | None = None

    def __post_init__(self) -> None:
        for name in ("flush_threshold", "flush_interval_s", "buffer_rows_max", "buffer_bytes_max"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"expected {name} above 0, got {getattr(self, name)!r}")
