"""Hooks that tests load by name."""

import tempfile
from pathlib import Path

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


def make() -> RecordingHook:
    return RecordingHook()


def make_badly() -> RecordingHook:
    raise OSError("no audit file")
