"""Telling a hook of operations on single documents in brief: no context, no result, no callback.

A process may make tens of thousands of such operations a second. A hook that needs little of those that end well may
have a method `brief`; where it alone listens to the group, it is asked once for each kind of operation and then told
of each by `Brief`. It has to be `inline`. What ends otherwise is told with a result or an error, as ever.
"""

from typing import Any, Protocol

from parquedb.observability.contexts import MutationResult, QueryResult


class Brief(Protocol):
    """Takes the operations of one kind. Raises nothing.

    Attributes:
        told: Callbacks that would have been made (count).
    """

    told: int

    def begin(self) -> tuple[bytes, Any]:
        """Begin one; return its span, packed (`otel.propagation`), and what `end` wants to have back."""

    def end(self, span: bytes, parent: Any, began_s: float, ended_s: float, numbers: tuple[int, ...]) -> None:
        """End one that went well at the first attempt.

        Args:
            span: What `begin` returned.
            parent: The same.
            began_s: Monotonic seconds.
            ended_s: The same.
            numbers: One for each name that `brief` was asked with; none is negative.
        """

    def open(self, subject: object, span: bytes, parent: Any, began_s: float) -> None:
        """Make one whole: it is the active one from now on, and ends by `finish` or `fail` with the same subject."""

    def finish(self, subject: object, result: QueryResult | MutationResult) -> None:
        """End one that `open` made whole."""

    def fail(self, subject: object, error: BaseException) -> None:
        """The same, badly."""
