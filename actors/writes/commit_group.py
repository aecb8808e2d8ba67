"""What the writer commits in one entry: a group of writes decided together, a bulk load, or a checkpoint."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from parquedb.actors.requests.operations import Outcome
from parquedb.actors.state.sessions import Receipt
from parquedb.actors.writes.calls import Write
from parquedb.actors.writes.draft import Draft
from parquedb.errors import ParqueDBError
from parquedb.storage.bulk.load_entry import Bulk
from parquedb.storage.log.entry import LogEntry
from parquedb.storage.log.events import RequestRecord


class NotLoaded(Exception):  # noqa: N818 - control flow between the draft and the writer
    """A document must be fetched before the write that looks at it can be decided."""


@dataclass(slots=True)
class Group:
    """Writes decided together, and what they came to if the entry lands."""

    draft: Draft
    writes: list[Write] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    records: list[tuple[RequestRecord, Receipt]] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class CheckpointRequest:
    """A manifest that waits to be made real."""

    manifest: str
    checksum: int
    through: int
    landed: "asyncio.Future[int]"


@dataclass(slots=True)
class BulkRequest:
    """Files that wait to be made part of the namespace.

    Attributes:
        decide: Called when nothing else is being decided; returns what to commit, None to be asked again later, or
            raises the refusal. Never waits.
        landed: Gets the entry; None when `decide` returned None.
        committing: Whether the entry is on its way.
    """

    decide: Callable[[], Bulk | None]
    landed: "asyncio.Future[LogEntry | None]"
    committing: bool = False

    def fail(self, error: ParqueDBError) -> None:
        """Say that there will be no entry, or that nobody knows."""
        if not self.landed.done():
            self.landed.set_exception(error)
