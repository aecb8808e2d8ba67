"""Hooks that tests load by name."""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parquedb.observability.hooks import CALLBACKS
from parquedb.observability.testing import FileRecordingHook, Record, RecordingHook

not_a_hook = 42


class CountingHook:
    def __init__(self) -> None:
        self.flushes = 0

    def on_flush(self, ctx: object) -> None:
        self.flushes += 1


class NeedsAnArgument:
    def __init__(self, argument: str) -> None:
        self.argument = argument

    def on_flush(self, ctx: object) -> None: ...


instance = CountingHook()


class OwnersHook(FileRecordingHook):
    """Writes down what an owner hears, in a file named after its namespace."""

    def __init__(self) -> None:
        super().__init__(tempfile.gettempdir())

    def _remember(self, record: Record) -> None:
        if getattr(record.context, "side", "actor") == "actor" and record.context.namespace is not None:
            log_of(record.context.namespace)._remember(record)


def log_of(namespace: str) -> FileRecordingHook:
    """Return the hook that has the records of a namespace's owner."""
    return FileRecordingHook(Path(tempfile.gettempdir()) / f"parquedb-{namespace}.jsonl")


over = threading.Event()
"""Ends the hooks that hang in this process."""


class Hanging:
    """A hook all of whose callbacks do the same."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        if name not in CALLBACKS:
            raise AttributeError(name)
        return lambda *_: self._what()


def spin() -> None:
    while not over.is_set():
        pass


def deadlock() -> None:
    lock = threading.Lock()
    while not over.is_set():
        lock.acquire(timeout=1)


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


sleeping = Hanging(over.wait)
spinning = Hanging(spin)
deadlocked = Hanging(deadlock)
never_ending = Hanging(wait_for_ever)
leaving = Hanging(sys.exit)


def make() -> RecordingHook:
    return RecordingHook()


def make_badly() -> RecordingHook:
    raise OSError("no audit file")
