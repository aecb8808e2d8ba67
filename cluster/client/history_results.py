"""What asking about the past gives: changes, the history of a document, and feeds that go on."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from parquedb.cluster.client.pages import Document
from parquedb.errors import ParqueDBError

WAIT_S: Final = 5.0
"""For how long the owner holds a question for changes that are yet to come."""

_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_MAX_S: Final = 2.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one document.

    Attributes:
        seq: Its number; changes of a namespace are numbered 1, 2, 3, ...
        time: When it was committed.
        action: `create update replace delete restore remove` (a hard delete), or `schema` where one was registered.
        id: The bare id of the document; empty for `schema`.
        document: The whole document afterwards; None after `remove`.
    """

    seq: int
    time: datetime
    action: str
    id: str
    document: Document | None

    @property
    def version(self) -> int | None:
        """The document's version afterwards; None after `remove`."""
        return None if self.document is None else self.document.get("version")


def changes_of(answer: Mapping[str, Any]) -> list[Change]:
    """Return the changes in an owner's answer."""
    return [
        Change(seq, _EPOCH + timedelta(microseconds=time_us), action, id_, document)
        for seq, time_us, action, id_, document in answer["changes"]
    ]


@dataclass(frozen=True, slots=True)
class History:
    """Changes of one document; iterating gives these and all that follow.

    Attributes:
        items: Oldest first.
        has_more: Whether others follow.
        truncated: Whether the document may have older changes, which are not kept any more.
        oldest_seq: The first seq of which anything is kept.
        following: Fetches what comes after a seq.
    """

    items: Sequence[Change]
    has_more: bool
    truncated: bool
    oldest_seq: int
    following: Callable[[int], "History"] | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[Change]:
        page = self
        while True:
            yield from page.items
            if not page.has_more or page.following is None:
                return
            page = page.following(page.items[-1].seq)


@dataclass(frozen=True, slots=True)
class AsyncHistory:
    """Changes of one document; `async for` gives these and all that follow. Attributes as of `History`."""

    items: Sequence[Change]
    has_more: bool
    truncated: bool
    oldest_seq: int
    following: Callable[[int], Awaitable["AsyncHistory"]] | None = field(default=None, repr=False, compare=False)

    async def __aiter__(self) -> AsyncIterator[Change]:
        page = self
        while True:
            for change in page.items:
                yield change
            if not page.has_more or page.following is None:
                return
            page = await page.following(page.items[-1].seq)


class _Feed:
    """Where a feed is, and how it meets failures. Each change is given once, in order, whatever owner tells it."""

    def __init__(self, after: int, *, follow: bool, patience_s: float) -> None:
        self._seq = after
        self._follow = follow
        self._patience_s = patience_s
        self._told: list[Change] = []
        self._failing_since_s: float | None = None
        self._delay_s = _BACKOFF_FIRST_S

    @property
    def seq(self) -> int:
        """Seq of the last change given: `after=` for whoever goes on from here."""
        return self._seq

    def _take(self) -> Change | None:
        if not self._told:
            return None
        change = self._told.pop()
        self._seq = change.seq
        return change

    def _tell(self, answer: Mapping[str, Any]) -> None:
        self._failing_since_s, self._delay_s = None, _BACKOFF_FIRST_S
        self._told = changes_of(answer)[::-1]

    def _pause_s(self, error: ParqueDBError) -> float:
        """Return how long to wait before asking again.

        Raises:
            ParqueDBError: the error, when asking again is no use or has been for too long.
        """
        now_s = time.monotonic()
        since_s = self._failing_since_s = now_s if self._failing_since_s is None else self._failing_since_s
        delay_s = max(error.retry_after or 0.0, self._delay_s * random.random())  # noqa: S311 - jitter
        if not error.retryable or now_s + delay_s - since_s > self._patience_s:
            self._failing_since_s, self._delay_s = None, _BACKOFF_FIRST_S
            raise error
        self._delay_s = min(2 * self._delay_s, _BACKOFF_MAX_S)
        return delay_s


class ChangeFeed(_Feed):
    """The changes of a namespace, one after the other, without gaps.

    At the end it waits for the next one, or is over when `follow` is off. After an error, `next` goes on where it was.
    """

    def __init__(
        self, ask: Callable[[int, float], Mapping[str, Any]], after: int, *, follow: bool, patience_s: float
    ) -> None:
        """Begin after a seq; use `Collection.changes`."""
        super().__init__(after, follow=follow, patience_s=patience_s)
        self._ask = ask

    def __iter__(self) -> "ChangeFeed":
        return self

    def __next__(self) -> Change:
        while True:
            change = self._take()
            if change is not None:
                return change
            try:
                self._tell(self._ask(self._seq, WAIT_S if self._follow else 0.0))
            except ParqueDBError as error:
                time.sleep(self._pause_s(error))
                continue
            if not self._told and not self._follow:
                raise StopIteration


class AsyncChangeFeed(_Feed):
    """The changes of a namespace for `async for`; see `ChangeFeed`."""

    def __init__(
        self, ask: Callable[[int, float], Awaitable[Mapping[str, Any]]], after: int, *, follow: bool, patience_s: float
    ) -> None:
        """Begin after a seq; use `AsyncCollection.changes`."""
        super().__init__(after, follow=follow, patience_s=patience_s)
        self._ask = ask

    def __aiter__(self) -> "AsyncChangeFeed":
        return self

    async def __anext__(self) -> Change:
        while True:
            change = self._take()
            if change is not None:
                return change
            try:
                self._tell(await self._ask(self._seq, WAIT_S if self._follow else 0.0))
            except ParqueDBError as error:
                await asyncio.sleep(self._pause_s(error))
                continue
            if not self._told and not self._follow:
                raise StopAsyncIteration
