"""An engine in this process, over a counted local directory: no Ray, no calls."""

import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counting import Counted, CountingBackend
from parquedb.actors.engine import NamespaceEngine
from parquedb.clock import SystemClock
from parquedb.observability.hooks import HookRegistry
from parquedb.settings.environment import load_settings
from parquedb.storage.backends.layers import wrap_backend
from parquedb.storage.open import open_backend

NAMESPACE = "bench"


@dataclass(frozen=True)
class Owner:
    """An engine with what it stands on; close the storage at the end."""

    engine: NamespaceEngine
    counted: Counted
    storage: CountingBackend

    async def end(self, *, cleanly: bool) -> None:
        """Stop, with or without a farewell in the log."""
        if cleanly:
            await self.engine.close()
        else:
            self.engine.abandon()
        await self.storage.close()


def make_owner(directory: Path) -> Owner:
    """Make an engine on `directory` that is not open yet, as an actor would make it."""
    settings = load_settings(str(directory))
    rng = random.Random()
    hooks = HookRegistry()
    storage = CountingBackend(open_backend(settings))
    storage.counted = Counted()
    clock = SystemClock()
    wrapped = wrap_backend(storage, settings.storage, clock=clock, hooks=hooks, rng=rng)
    engine = NamespaceEngine(NAMESPACE, wrapped, settings.engine, clock=clock, rng=rng, hooks=hooks)
    return Owner(engine, storage.counted, storage)
