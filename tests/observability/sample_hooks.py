"""Hooks that tests load by name."""

from parquedb.observability.testing import RecordingHook

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


def make() -> RecordingHook:
    return RecordingHook()


def make_badly() -> RecordingHook:
    raise OSError("no audit file")
