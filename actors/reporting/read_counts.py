"""How often reads found what they needed in memory, counted for the owner whose call is being answered.

A context variable carries the counts: an engine is made anew whenever its namespace is opened, and counts must not
fall.
"""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class ReadCounts:
    """Documents asked for by id and queries, by where their answers came from.

    Attributes:
        hits: Answered from memory.
        misses: Answered with something read from storage.
    """

    hits: int = 0
    misses: int = 0


_counting: ContextVar[ReadCounts | None] = ContextVar("parquedb_read_counts", default=None)


def count_reads_in(counts: ReadCounts) -> None:
    """Count what this task reads from now on, and the tasks that it starts."""
    _counting.set(counts)


def count_reads(*, hits: int = 0, misses: int = 0) -> None:
    """Count reads, where somebody wants them counted."""
    counts = _counting.get()
    if counts is not None:
        counts.hits += hits
        counts.misses += misses
