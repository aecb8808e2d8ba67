"""Following the worker logs: every row that is stored from a position on, once, in the order of its storing.

A position is a moment of the store's clock up to which everything has been seen, and the leaves seen after it. Flushes
of several processes become visible in no order that their names could tell, so `SLACK_S` before the last listing are
kept by name. A merged file tells its leaves and when each was stored: those seen already are passed over.
"""

from __future__ import annotations

import asyncio
import base64
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import orjson

from parquedb.documents.filters import Predicate
from parquedb.errors import InvalidInputError, ObjectNotFoundError
from parquedb.observability.worker_logs.catalog import LiveFile, LogCatalog, Part
from parquedb.observability.worker_logs.conditions import comparisons_of, hours_of
from parquedb.observability.worker_logs.files import LogFile
from parquedb.observability.worker_logs.reader import LogReader, documents_of

T = TypeVar("T")

SLACK_S: Final = 900.0
"""Seconds that a file may become visible later than its time of storing says; above any time limit of a write."""

_MARGIN_S: Final = 60.0

START: Final = ""
"""The position before everything."""


class Runner(Protocol):
    """Runs coroutines on the loop that the feed's storage lives on."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run and wait."""

    async def run_async(self, work: Coroutine[Any, Any, T]) -> T:
        """Run and await."""

    def call(self, callback: Callable[[], object]) -> None:
        """Have a callback called soon."""


@dataclass(slots=True)
class Position:
    """How far a reader has come.

    Attributes:
        complete_s: Everything stored up to then has been seen, Unix seconds by the store's clock.
        seen: Names of leaves and files seen besides, by when they were stored.
        begun: Leaves that have been read in part, by the id of the last row read.
    """

    complete_s: float = -math.inf
    seen: dict[str, float] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)

    def has_seen(self, name: str, stored_s: float) -> bool:
        """Whether a leaf or file is behind this position."""
        return stored_s <= self.complete_s or name in self.seen

    def pass_leaf(self, name: str, stored_s: float) -> None:
        """Note that a leaf, or a whole file, has been read."""
        self.seen[name] = stored_s
        self.begun.pop(name, None)

    def complete(self, listed_s: float) -> None:
        """Note that everything that a listing of `listed_s` showed has been read."""
        self.begun.clear()  # What is left has expired.
        self.complete_s = max(self.complete_s, listed_s - SLACK_S)
        # A local file's time may move a little while it is stored: names are kept somewhat longer than needed.
        oldest_s = self.complete_s - _MARGIN_S
        self.seen = {name: stored_s for name, stored_s in self.seen.items() if stored_s > oldest_s}

    def to_text(self) -> str:
        """Return the position as text without spaces, to be kept and given to a later feed."""
        state = [None if self.complete_s == -math.inf else self.complete_s, self.seen, self.begun]
        return base64.urlsafe_b64encode(orjson.dumps(state)).decode()

    @staticmethod
    def from_text(text: str) -> Position:
        """Read what `to_text` gave; `START` is the beginning.

        Raises:
            InvalidInputError: it is no position.
        """
        if text == START:
            return Position()
        try:
            complete_s, seen, begun = orjson.loads(base64.urlsafe_b64decode(text.encode()))
            seen = {str(name): float(stored_s) for name, stored_s in seen.items()}
            begun = {str(name): str(row) for name, row in begun.items()}
            return Position(-math.inf if complete_s is None else float(complete_s), seen, begun)
        except (ValueError, TypeError, AttributeError):
            raise InvalidInputError(f"expected the position of a feed, got {text[:40]!r}") from None


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What a feed delivers, and how long it waits.

    Attributes:
        predicate: Rows that pass are delivered.
        poll_s: Seconds between looks at the store; what this process stores is seen at once.
        idle_s: The feed ends when nothing came for so many seconds; None: never by itself.
    """

    predicate: Predicate
    poll_s: float
    idle_s: float | None


class LogFeed:
    """An iterator over rows, for `for` and for `async for`; one consumer at a time.

    Args:
        runner: The loop that the storage lives on.
        catalog: Gives the files; called there.
        options: What is delivered.
        position: Where to begin; None: with what is stored from now on.
    """

    def __init__(
        self,
        runner: Runner,
        catalog: Callable[[], Awaitable[LogCatalog]],
        options: FeedOptions,
        position: Position | None,
    ) -> None:
        self._runner = runner
        self._catalog = catalog
        self._options = options
        self._tests = comparisons_of(options.predicate.filter)
        self._from_now = position is None
        self._position = position or Position()
        self._source: AsyncIterator[tuple[str, list[dict[str, Any]]]] | None = None
        self._rows: deque[dict[str, Any]] = deque()
        self._leaf = ""
        self._stored: asyncio.Event | None = None
        self._closed = False
        if self._from_now:
            runner.run(self._skip_to_now())

    @property
    def position(self) -> str:
        """The position behind the last row that was delivered; `follow(after=position)` goes on from there."""
        return self._position.to_text()

    def __iter__(self) -> LogFeed:
        return self

    def __next__(self) -> dict[str, Any]:
        while not self._rows:
            try:
                more = self._runner.run(self._fetch())
            except (CancelledError, InvalidInputError):
                if not self._closed:
                    raise
                more = False  # The view ended, and its loop before this was begun there.
            if not more:
                raise StopIteration
        return self._deliver()

    def __aiter__(self) -> LogFeed:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._rows:
            try:
                more = await self._runner.run_async(self._fetch())
            except (asyncio.CancelledError, InvalidInputError):
                task = asyncio.current_task()
                if not self._closed or (task is not None and task.cancelling()):
                    raise
                more = False  # As above.
            if not more:
                raise StopAsyncIteration
        return self._deliver()

    def _deliver(self) -> dict[str, Any]:
        row = self._rows.popleft()
        self._position.begun[self._leaf] = row["id"]
        return row

    def close(self) -> None:
        """End the feed; who waits for its next row is told that there is none."""
        self._closed = True
        self._rows.clear()
        self._runner.call(self.wake)

    def wake(self) -> None:
        """Look again now; on the loop only."""
        if self._stored is not None:
            self._stored.set()

    async def _fetch(self) -> bool:
        """Get some rows; False when the feed has ended. All earlier ones have been delivered by now."""
        if self._stored is None:
            self._stored = asyncio.Event()
        clock = asyncio.get_running_loop().time
        idle_from_s = clock()
        while not self._closed:
            if self._source is None:
                self._stored.clear()
                self._source = self._poll()
            try:
                found = await anext(self._source, None)
            except BaseException:
                self._source = None  # The next call begins again behind the last row delivered.
                if self._closed:
                    return False  # The view ends, and its loop with it.
                raise
            if found is not None:
                self._leaf, rows = found
                self._rows.extend(rows)
                return True
            self._source = None
            idle_s = self._options.idle_s
            if idle_s is not None and clock() - idle_from_s >= idle_s:
                return False
            try:
                async with asyncio.timeout(self._options.poll_s):
                    await self._stored.wait()
            except TimeoutError:
                continue
        return False

    async def _poll(self) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
        """Yield the rows of unseen leaves, and note a leaf as seen when the next rows are asked for."""
        catalog = await self._catalog()
        listing = await catalog.listing(*hours_of(self._tests))
        reader = LogReader(catalog)
        for files in listing.by_hour().values():
            if self._all_seen(files):
                continue
            async for hour in catalog.attempts(files):
                try:
                    for live in hour.live:
                        async for found in self._unseen(reader, live):
                            yield found
                except ObjectNotFoundError:
                    continue  # Merged meanwhile; its rows are in another file.
                break
        self._position.complete(listing.server_s)

    def _all_seen(self, files: Iterable[LogFile]) -> bool:
        return all(self._position.has_seen(file.name, file.stored_s) for file in files)

    async def _unseen(self, reader: LogReader, live: LiveFile) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
        position = self._position
        parts = tuple(part for part in live.parts if not position.has_seen(part.leaf.name, part.leaf.stored_s))
        if parts:
            reading: Part | None = None
            async for pieces in reader.pieces(LiveFile(live.file, parts, live.leaves), self._tests):
                for piece in pieces:
                    if reading is not None and piece.part != reading:
                        position.pass_leaf(reading.leaf.name, reading.leaf.stored_s)
                    reading = piece.part
                    rows = await asyncio.to_thread(self._matching, piece.table)
                    behind = position.begun.get(piece.part.leaf.name, "")
                    rows = [row for row in rows if row["id"] > behind]
                    if rows:
                        yield piece.part.leaf.name, rows
        for part in parts:
            position.pass_leaf(part.leaf.name, part.leaf.stored_s)
        position.pass_leaf(live.file.name, live.file.stored_s)

    def _matching(self, table: Any) -> list[dict[str, Any]]:
        return list(filter(self._options.predicate.matches, documents_of(table)))

    async def _skip_to_now(self) -> None:
        catalog = await self._catalog()
        listing = await catalog.listing()
        self._position.complete(listing.server_s)
        for files in listing.by_hour().values():
            if self._all_seen(files):
                continue
            async for hour in catalog.attempts(files):
                for live in hour.live:
                    for leaf in live.leaves:
                        self._position.pass_leaf(leaf.name, leaf.stored_s)
                    self._position.pass_leaf(live.file.name, live.file.stored_s)
                break
