"""Telling a hook of operations in brief: no context, no result, no callback.

A process may carry out tens of thousands of operations a second, and a hook that makes spans or counts needs little of
each. One that is `inline` may have a method `brief(kind)`: it is asked once for each kind of operation, and where
everybody who listens has an answer, all such operations are told by what was answered:

    Brief    single operations of a client: one call at the end tells all
    Works    what an owner does: a call, a commit, a try of the store; each is `UnderWay` for a while

Whatever is told this way could be told by a context and a result as well, and is where a hook wants those.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from parquedb.observability.contexts import MutationResult, QueryResult, Side

UNKNOWN = -1
"""Stands for a number that is not known; no number that is told is negative."""


class Kind(NamedTuple):
    """Operations that are told alike.

    Attributes:
        group: `query`, `mutation`, `commit` or `storage`.
        operation: Its name; of a commit the kind of the entry.
        namespace: Where it happens; empty where that is not known.
        actor: Name of the actor that is asked, or that does it; empty where that is not known.
        names: The numbers that will be told, integers or booleans: `batch_size`, or fields of the context and of the
            result; `sent` are the bytes of a storage context.
        side: Whose process it is.
        words: The texts that will be told, of storage: `key` and `etag`.
        backend: Of storage.
        several: Whether one stands for several operations.
    """

    group: str
    operation: str
    namespace: str
    actor: str
    names: tuple[str, ...]
    side: Side = "client"
    words: tuple[str, ...] = ()
    backend: str = ""
    several: bool = False


class UnderWay(Protocol):
    """One operation that has been started. Raises nothing."""

    def finish(self, ended_s: float, numbers: Sequence[int], words: Sequence[str | None]) -> None:
        """End it well.

        Args:
            ended_s: Monotonic seconds.
            numbers: One for each of the kind's `names`.
            words: One for each of the kind's `words`.
        """

    def fail(self, ended_s: float, error: BaseException, numbers: Sequence[int], words: Sequence[str | None]) -> None:
        """End it badly; as `finish`, with what was known when it began."""


class Works(Protocol):
    """Takes operations of one kind while they last. Raises nothing.

    Attributes:
        told: Callbacks that would have been made (count).
    """

    told: int

    def start(self, began_s: float, above: bytes | None, callers: bytes) -> UnderWay:
        """Start one; what it does until its end belongs to it.

        Args:
            began_s: Monotonic seconds.
            above: The span of another process that it belongs to, packed (`otel.propagation`), if there is one.
            callers: The spans of all operations that it is for, packed.
        """


class Brief(Works, Protocol):
    """Takes single operations of a client as well, of which nothing has to be known while they last."""

    def begin(self) -> tuple[bytes, Any]:
        """Begin one; return its span, packed (`otel.propagation`), and what `end` wants to have back."""

    def end(self, span: bytes, parent: Any, began_s: float, ended_s: float, numbers: Sequence[int]) -> None:
        """End one that went well at the first attempt.

        Args:
            span: What `begin` returned.
            parent: The same.
            began_s: Monotonic seconds.
            ended_s: The same.
            numbers: One for each of the kind's `names`.
        """

    def open(self, subject: object, span: bytes, parent: Any, began_s: float) -> None:
        """Make one whole: it is the active one from now on, and ends by `finish` or `fail` with the same subject."""

    def finish(self, subject: object, result: QueryResult | MutationResult) -> None:
        """End one that `open` made whole."""

    def fail(self, subject: object, error: BaseException) -> None:
        """The same, badly."""


class Work:
    """One operation of an owner, as it is told to all who listen."""

    __slots__ = ("_told", "began_s")

    def __init__(self, takers: Sequence[Works], above: bytes | None = None, callers: bytes = b"") -> None:
        """Start it; see `Works.start`."""
        self.began_s = began_s = time.monotonic()
        self._told: Sequence[UnderWay] = [one.start(began_s, above, callers) for one in takers]

    def end(self, numbers: Sequence[int], words: Sequence[str | None] = ()) -> None:
        """End it well; only the first ending counts. See `UnderWay.finish`."""
        told, self._told = self._told, ()
        ended_s = time.monotonic()
        # Last started first: what is active nests.
        for one in reversed(told):
            one.finish(ended_s, numbers, words)

    def error(self, error: BaseException, numbers: Sequence[int] = (), words: Sequence[str | None] = ()) -> None:
        """End it badly; only the first ending counts. Of numbers the last ones may be missing."""
        told, self._told = self._told, ()
        ended_s = time.monotonic()
        for one in reversed(told):
            one.fail(ended_s, error, numbers, words)
