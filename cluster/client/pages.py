"""Pages of a query: what `find` returns, and walking on from one to the next."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a query's documents; iterating gives these and all that follow.

    Attributes:
        items: The documents of this page, in the order asked for.
        next_cursor: Give it as `cursor=` to get what follows; None on the last page.
        total: How many documents the whole query matches; None unless asked for.
        following: Fetches the page at a cursor.
    """

    items: list[Document]
    next_cursor: str | None = None
    total: int | None = None
    following: Callable[[str], "Page"] | None = field(default=None, repr=False, compare=False)

    @property
    def has_more(self) -> bool:
        """Whether documents follow this page."""
        return self.next_cursor is not None

    def __iter__(self) -> Iterator[Document]:
        page = self
        while True:
            yield from page.items
            if page.next_cursor is None or page.following is None:
                return
            page = page.following(page.next_cursor)


@dataclass(frozen=True, slots=True)
class AsyncPage:
    """One page of a query's documents; `async for` gives these and all that follow.

    Attributes:
        items: The documents of this page, in the order asked for.
        next_cursor: Give it as `cursor=` to get what follows; None on the last page.
        total: How many documents the whole query matches; None unless asked for.
        following: Fetches the page at a cursor.
    """

    items: list[Document]
    next_cursor: str | None = None
    total: int | None = None
    following: Callable[[str], Awaitable["AsyncPage"]] | None = field(default=None, repr=False, compare=False)

    @property
    def has_more(self) -> bool:
        """Whether documents follow this page."""
        return self.next_cursor is not None

    async def __aiter__(self) -> AsyncIterator[Document]:
        page = self
        while True:
            for document in page.items:
                yield document
            if page.next_cursor is None or page.following is None:
                return
            page = await page.following(page.next_cursor)


class AsyncFind:
    """A query that has not run: `await` it for its first page, or `async for` through all its documents."""

    __slots__ = ("_first",)

    def __init__(self, first: Callable[[], Awaitable[AsyncPage]]) -> None:
        """Remember how to fetch the first page."""
        self._first = first

    def __await__(self) -> Generator[Any, Any, AsyncPage]:
        return self._first().__await__()

    async def __aiter__(self) -> AsyncIterator[Document]:
        async for document in await self._first():
            yield document
