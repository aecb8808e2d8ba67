"""Work that asks a client for things, written once for the synchronous client and for the asynchronous one.

Such work is a generator. It yields *asks*, functions that make one call of the client, and is sent what the call came
to; the synchronous client's calls return that, the asynchronous one's promise it. What the generator does in between
may block: for coroutines it runs in a thread.
"""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Ask = Callable[..., Any]
"""Makes one call of a client; its arguments are those given to whoever carries the work out."""

Steps = Generator[Ask, Any, R]
"""Work that comes to an `R`."""

_END: Final = object()


def carried_out(work: Steps[R], *client: Any) -> R:
    """Do what `work` asks for, and return what it returns; each ask is called with `client`."""
    step: Callable[[], Ask] = functools.partial(work.send, None)
    try:
        while True:
            ask = step()
            try:
                step = functools.partial(work.send, ask(*client))
            except Exception as raised:  # noqa: BLE001 - the work decides what it means
                step = functools.partial(work.throw, raised)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # What a generator returns has its type.
    finally:
        work.close()


async def carried_out_async(work: Steps[R], *client: Any) -> R:
    """Do what `work` asks for on this loop; its own part, between the asks, runs in a thread."""
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, thread_name_prefix="parquedb-steps")
    result: list[R] = []

    def advance(step: Callable[[], Ask]) -> Any:
        try:
            return step()
        except StopIteration as end:
            result.append(end.value)
            return _END

    try:
        step: Callable[[], Ask] = functools.partial(work.send, None)
        while (ask := await loop.run_in_executor(pool, advance, step)) is not _END:
            try:
                answer = ask(*client)
                step = functools.partial(work.send, await answer if inspect.isawaitable(answer) else answer)
            except Exception as raised:  # noqa: BLE001 - the work decides what it means
                step = functools.partial(work.throw, raised)
        return result[0]
    finally:
        # After a step that is under way: whoever gives up leaves nothing half done.
        pool.submit(work.close)
        pool.shutdown(wait=False)


def some_of(source: Iterator[R] | AsyncIterator[R], count: int) -> "list[R] | Awaitable[list[R]]":
    """Return, or promise, the next items of an iterator: fewer than `count` at its end."""
    return _promised(source, count) if isinstance(source, AsyncIterator) else list(islice(source, count))


async def _promised(source: AsyncIterator[R], count: int) -> list[R]:
    found: list[R] = []
    while len(found) < count:
        try:
            found.append(await anext(source))
        except StopAsyncIteration:
            break
    return found


def at_once(method: Callable[P, Steps[R]]) -> Callable[P, R]:
    """Make a method that returns what its steps come to, asking a synchronous client."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return carried_out(method(*args, **kwargs))

    return _public(call)


def awaited(method: Callable[P, Steps[R]]) -> Callable[P, Awaitable[R]]:
    """Make a method to be awaited of the same steps, asking an asynchronous client."""

    @functools.wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return await carried_out_async(method(*args, **kwargs))

    return _public(call)


def _public(call: Callable[P, R]) -> Callable[P, R]:
    """Name a method after its steps, whose own name begins with `_`."""
    call.__name__ = call.__name__.removeprefix("_")
    return call
