"""The alerts of a Prometheus, followed from outside: which fired, when, and which do now."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.prometheus import Prometheus

LOOK_S = 0.1
ROUND_S = 5.0
"""The longest that one look may take before Prometheus itself is in trouble."""


class AlertWatch:
    """Looks again and again.

    Attributes:
        fired: Names of the alerts that have fired since the last `forget`, with the first moment, monotonic seconds.
    """

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._states: dict[str, str] = {}
        self._looked = asyncio.Condition()
        self.fired: dict[str, float] = {}

    @property
    def firing(self) -> set[str]:
        """Names of those that fire now."""
        return {name for name, state in self._states.items() if state == "firing"}

    @property
    def active(self) -> set[str]:
        """The same, and those whose time has not come yet."""
        return set(self._states)

    def forget(self) -> None:
        """Forget what has fired."""
        self.fired = {}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["AlertWatch"]:
        """Look while inside."""
        task = asyncio.create_task(self._watch())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, reached: Callable[[], bool], timeout_s: float) -> float:
        """Wait until something is so; return how many seconds that took.

        Raises:
            TimeoutError: it never was.
        """
        started_s = time.monotonic()
        async with asyncio.timeout(timeout_s), self._looked:
            await self._looked.wait_for(reached)
        return time.monotonic() - started_s

    async def _watch(self) -> None:
        while True:
            async with asyncio.timeout(ROUND_S):
                alerts = (await asyncio.to_thread(self._prometheus.get, "alerts"))["alerts"]
            states: dict[str, str] = {}
            for alert in alerts:
                name = alert["labels"]["alertname"]
                states[name] = "firing" if "firing" in {states.get(name), alert["state"]} else alert["state"]
            async with self._looked:
                self._states = states
                for name in self.firing:
                    self.fired.setdefault(name, time.monotonic())
                self._looked.notify_all()
            await asyncio.sleep(LOOK_S)
