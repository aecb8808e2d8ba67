"""What a checkpoint is made of: entries not folded yet, what a manifest takes at one moment, and what has landed."""

from dataclasses import dataclass
from typing import Any

from parquedb.actors.state.memtable import Memtable


@dataclass(slots=True)
class Recent:
    """A log entry that no manifest has folded yet.

    Attributes:
        position: In the log.
        kind: One of `Kind`.
        data: As stored.
        first_seq: Of its first event.
        next_seq: What the first event after it takes.
        time_us: Its log time, Unix microseconds.
    """

    position: int
    kind: str
    data: bytes
    first_seq: int
    next_seq: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint known to have landed, for the collector.

    Attributes:
        position: Of its entry.
        through: Last position its manifest folds.
        manifest: Key of the manifest, relative to the namespace.
        objects: Keys the manifest refers to, relative to the namespace.
        log_time_us: Log time of entry `through`.
    """

    position: int
    through: int
    manifest: str
    objects: frozenset[str]
    log_time_us: int = 0


@dataclass(slots=True)
class Frozen:
    """Everything a manifest needs, taken at one moment without awaiting.

    Attributes:
        through: The tail at that moment; the fields below it belong to it.
        recent: The entries that the manifest folds.
        memtable: What the flush turns into Parquet; None for a checkpoint that only folds the log.
        request_ids: Segment of callers' ids recorded since the last one: bytes, newest log time, count.
        schemas: Wire form of the schemas.
    """

    through: int
    through_id: bytes
    next_seq: int
    log_time_us: int
    fences: tuple[int, ...]
    recent: list[Recent]
    memtable: Memtable | None
    sessions: Any
    request_ids: tuple[bytes, int, int] | None
    schemas: Any = None
