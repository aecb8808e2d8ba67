"""A store whose user is killed at a chosen step: from then on no call of it gets through."""

from typing import TypeVar

from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import Call, FunnelBackend

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone: nothing in it gets to tidy up."""


class Life:
    """How many storage calls a process lives for.

    Attributes:
        calls: Made so far.
    """

    def __init__(self, steps: int | None = None, *, applied: bool = False) -> None:
        """Let it live for ever, or be killed at the call number `steps` (from 0), before or after that is applied."""
        self.steps = steps
        self.applied = applied
        self.calls = 0

    def connect(self, store: StorageBackend) -> "Mortal":
        """Return a store as this process reaches it."""
        return Mortal(store, self)


class Mortal(FunnelBackend):
    """A store as a process reaches it that will be killed."""

    def __init__(self, inner: StorageBackend, life: Life) -> None:
        super().__init__(inner)
        self._life = life

    async def _pass(self, call: Call[T]) -> T:
        life = self._life
        number, life.calls = life.calls, life.calls + 1
        if life.steps is None or number < life.steps:
            return await call.send(self.inner, call.timeout_s)
        if number == life.steps and life.applied:
            await call.send(self.inner, call.timeout_s)
        raise Killed
