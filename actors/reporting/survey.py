"""What an owner tells whoever looks at the whole database, all at once: condition, sizes, work, what stands out."""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from parquedb.clock import Clock
from parquedb.observability.metrics.highlights import RecentError, SlowOperation
from parquedb.observability.metrics.measures import OperationMetrics
from parquedb.observability.metrics.sketch import QuantileSketch
from parquedb.storage.breaker.monitor import CircuitHealthStatus

SIZES_KEPT_S: Final = 10.0
"""Seconds for which sizes are told again: counting what is in memory takes time in proportion to it."""


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of one kind, reads or writes, since a process began.

    Attributes:
        count: How many there were.
        errors: How many of them failed.
        sketch: How long they took, as their owner saw it.
    """

    count: int = 0
    errors: int = 0
    sketch: QuantileSketch = field(default_factory=QuantileSketch)

    @staticmethod
    def of(operations: Iterable[OperationMetrics]) -> "Work":
        """Return what kinds of operation come to together."""
        return Work.sum(Work(one.count, one.error_count, one.sketch) for one in operations)

    @staticmethod
    def sum(parts: Iterable["Work"]) -> "Work":
        """Return what several come to together."""
        bins: dict[int, int] = {}
        count = errors = 0
        for one in parts:
            count, errors = count + one.count, errors + one.errors
            for place, times in one.sketch.bins.items():
                bins[place] = bins.get(place, 0) + times
        return Work(count, errors, QuantileSketch(bins))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a namespace holds.

    Attributes:
        documents: Live ones; see `statistics` for how exact that is.
        bytes: Of its data files.
        files: Data files.
        seq: Of the last change.
    """

    documents: int
    bytes: int
    files: int
    seq: int


@dataclass(frozen=True, slots=True)
class OwnerSurvey:
    """How the owner of one namespace is, and what it has done.

    Attributes:
        namespace: Which.
        host: Name of its machine.
        node: Ray's id of that; empty without Ray.
        pid: Its process.
        age_s: Seconds since that began.
        health: What `health` answers.
        circuits: Of its process.
        sizes: None until the namespace has been open in this process; those of last time while it is not.
        reads: Queries.
        writes: Mutations.
        slowest: See `Highlights`.
        errors: The same.
    """

    namespace: str
    host: str
    node: str
    pid: int
    age_s: float
    health: Mapping[str, Any]
    circuits: CircuitHealthStatus
    sizes: Sizes | None
    reads: Work
    writes: Work
    slowest: tuple[SlowOperation, ...] = ()
    errors: tuple[RecentError, ...] = ()


class Counted(Protocol):
    """Who says what was done, as `OwnerMeter` does."""

    def work(self) -> tuple[Work, Work]:
        """Return reads and writes."""

    def slowest(self) -> tuple[SlowOperation, ...]:
        """Return what took longest."""

    def errors(self) -> tuple[RecentError, ...]:
        """Return what failed."""


class Opened(Protocol):
    """Who says what is stored, as `NamespaceEngine` does."""

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes."""


class Surveyor:
    """Makes the surveys of one owner; remembers nothing but sizes.

    Args:
        namespace: What it owns.
        clock: Its clock.
        node: Ray's id of the machine.
    """

    def __init__(self, namespace: str, clock: Clock, node: str = "") -> None:
        self._namespace = namespace
        self._clock = clock
        self._node = node
        self._host = socket.gethostname()
        self._began_s = clock.boot_s()
        self._sizes: Sizes | None = None
        self._sized_s = float("-inf")

    def survey(
        self,
        health: Mapping[str, Any],
        circuits: CircuitHealthStatus,
        meter: Counted | None,
        engine: Opened | None,
    ) -> OwnerSurvey:
        """Look at everything; no I/O, and nothing that keeps the owner awake.

        Args:
            health: What it answers to that question.
            circuits: Of its process.
            meter: What it has counted; None where nothing is.
            engine: Where it is open.
        """
        now_s = self._clock.boot_s()
        # One that is being opened does not know yet.
        if engine is not None and health["state"] == "open" and now_s - self._sized_s >= SIZES_KEPT_S:
            self._sized_s = now_s
            found = engine.stats()
            self._sizes = Sizes(found["live_rows"], found["file_bytes"], found["files"], found["seq"])
        reads, writes = (Work(), Work()) if meter is None else meter.work()
        return OwnerSurvey(
            namespace=self._namespace,
            host=self._host,
            node=self._node,
            pid=os.getpid(),
            age_s=now_s - self._began_s,
            health=health,
            circuits=circuits,
            sizes=self._sizes,
            reads=reads,
            writes=writes,
            slowest=() if meter is None else meter.slowest(),
            errors=() if meter is None else meter.errors(),
        )
