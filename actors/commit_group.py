"""What the writer commits in one entry: a group of writes decided together, or a checkpoint."""

import asyncio
from dataclasses import dataclass, field

from parquedb.actors.calls import Write
from parquedb.actors.evaluate import Draft
from parquedb.actors.operations import Outcome
from parquedb.actors.sessions import Receipt
from parquedb.storage.events import RequestRecord, Run


class NotLoaded(Exception):  # noqa: N818 - control flow between the draft and the writer
    """A document must be fetched before the write that looks at it can be decided."""


@dataclass(slots=True)
class Group:
    """Writes decided together, and what they came to if the entry lands."""

    draft: Draft
    writes: list[Write] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    records: list[tuple[RequestRecord, Receipt]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class CheckpointRequest:
    """A manifest that waits to be made real."""

    manifest: str
    checksum: int
    through: int
    landed: "asyncio.Future[int]"
