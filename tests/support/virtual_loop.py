"""An event loop whose time is made up: it jumps to the next timer when nothing is left to do, and repeats exactly."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

_ROUNDS_MAX = 5


class Stuck(RuntimeError):  # noqa: N818 - says what the loop is
    """Every task waits for something that will never happen."""


class _NoWaiting(selectors.SelectSelector):
    """Waits for nothing: told to wait, it moves the loop's time."""

    moved: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck("nothing is left to do and the main task is not done")
        self.moved(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop without threads, sockets or real time."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        selector = _NoWaiting()
        selector.moved = self._move
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual_s

    def _move(self, delta_s: float) -> None:
        self._virtual_s += delta_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        raise AssertionError("threads would make the run unrepeatable")


class Process:
    """One machine or process of the simulation: it can be paused, and it can die.

    Whatever it does with the world goes through `gate`: each request to the store, each answer that arrives, each
    sleep, each piece of CPU work, each call and its reply. A dead one stops there for ever, with no cleanup at all.
    Between two gates nothing leaves it, so nobody can tell at which of the awaits between them it died.

    Attributes:
        gates: Times it went through, all its tasks taken together.
        on_gate: Called at each, with the number; may kill or pause the process.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused_until_s = 0.0
        self.dead = False
        self.gates = 0
        self.on_gate: Callable[[int], None] | None = None

    async def gate(self) -> None:
        """Return once the process runs."""
        loop = asyncio.get_running_loop()
        while True:
            if self.dead:
                await loop.create_future()
            if self.paused_until_s > loop.time():
                await asyncio.sleep(self.paused_until_s - loop.time())
                continue
            if self.on_gate is None:
                return
            self.gates += 1
            self.on_gate(self.gates)
            if not self.dead and self.paused_until_s <= loop.time():
                return


class SimClock:
    """The clock of one process: its rate is wrong by a few percent, its wall clock by some seconds."""

    START = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self, process: Process, *, rate: float = 1.0, skew_s: float = 0.0) -> None:
        self._process = process
        self._rate = rate
        self._skew_s = skew_s

    def now(self) -> datetime:
        return self.START + timedelta(seconds=self._skew_s + self.boot_s())

    def boot_s(self) -> float:
        return asyncio.get_running_loop().time() * self._rate

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(max(0.0, delay_s) / self._rate)
        await self._process.gate()


def run_virtually(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run `main` to its end on a virtual loop; leftover tasks are thrown away."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_as_coroutine(main))
    finally:
        loop.set_exception_handler(lambda _loop, _context: None)
        leftovers = asyncio.all_tasks(loop)
        for task in leftovers:
            task.cancel()
        for _ in range(_ROUNDS_MAX):
            if not leftovers:
                break
            loop.run_until_complete(_swallow(leftovers))
            # Some start others when they are cancelled, or take it for what one of those came to.
            leftovers = asyncio.all_tasks(loop)
            for task in leftovers:
                task.cancel()
        loop.close()


async def _as_coroutine(main: Callable[[], Awaitable[Any]]) -> Any:
    return await main()


async def _swallow(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=1.0)
