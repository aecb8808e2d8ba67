"""How many queries run at once in one owner, and how many may wait for their turn."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from parquedb.actors.reporting.pressure import owner_pressure
from parquedb.admission import Admission, QueueBounds
from parquedb.clock import Clock, SystemClock


class QueryGate:
    """Each query may hold memory up to a bound, so what bounds the owner's is how many of them there are.

    Args:
        running_max: Queries that run at once (count).
        waiting_max: Queries that wait (count); more are refused.
        rng: Spreads those who are refused.
        clock: Measures how long refusing lasts.
        name: Of the namespace, for the log.

    Attributes:
        running, waiting: How many do now.
    """

    def __init__(
        self, running_max: int, waiting_max: int, rng: random.Random, *, clock: Clock | None = None, name: str = ""
    ) -> None:
        self._free = asyncio.Semaphore(running_max)
        self._running_max = running_max
        self.admission = Admission("queries", QueueBounds(waiting_max, 0, math.inf), rng)
        # Of those that run or wait: as long as one runs there is somebody who will tell that it has become calm.
        all_max = QueueBounds(running_max + waiting_max, 0, math.inf)
        self._pressure = owner_pressure(name, "queries", all_max, clock or SystemClock())
        self.running = self.waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Run a query inside, when its turn comes.

        Raises:
            BackpressureError: too many wait already.
        """
        if self._free.locked():
            refusal = self.admission.refusal(
                ops=1, size=0, queued_ops=self.waiting, queued_bytes=0, oldest_s=0.0, left_s=math.inf
            )
            if refusal is not None:
                self._pressure.refused(1, refusal)
                raise refusal
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()
            self.admission.drained(self._running_max, loop.time() - started_s)
            if self._pressure.lasts:
                self._pressure.eased(self.running + self.waiting, 0)
