"""Waiting together: for several things of which none is wanted alone, and of several for one thing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


async def together(work: Sequence[Awaitable[T]]) -> list[T]:
    """Await all; after the first error, or when the caller gives up, nobody wants the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class Flight(Generic[T]):
    """Work that several may wait for. Who gives up takes it from no other; when the last one leaves, it ends.

        with flight:
            answer = await flight.result()

    Args:
        work: Begins at once, as a task of its own.
        landed: Called with this flight when it has ended, however it did.
    """

    def __init__(self, work: Awaitable[T], landed: "Callable[[Flight[T]], None]") -> None:
        self._task = asyncio.ensure_future(work)
        self._passengers = 0
        self.abandoned = False
        """Whether everybody left before it ended: there is nothing to wait for any more."""
        self._task.add_done_callback(lambda _: self._ended(landed))

    async def result(self) -> T:
        """Return what the work came to, or raise its error; only for who is aboard."""
        return await asyncio.shield(self._task)

    def cancel(self) -> None:
        """End it, whoever waits."""
        self.abandoned = True
        self._task.cancel()

    def __enter__(self) -> Self:
        self._passengers += 1
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._passengers -= 1
        if not self._passengers and not self._task.done():
            self.cancel()

    def _ended(self, landed: "Callable[[Flight[T]], None]") -> None:
        if not self._task.cancelled():
            self._task.exception()  # Marks it as seen: every passenger may have left.
        landed(self)
