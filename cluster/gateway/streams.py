"""Room for requests and streams: how many there may be at a time, and what those hear for whom there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from parquedb.cluster.gateway.problems import Refusal
from parquedb.errors import BackpressureError

RETRY_AFTER_S: Final = 1.0
"""Seconds after which a caller for whom there was no room may come back."""


class Room:
    """So many of a kind at a time.

    Attributes:
        taken: How many there are.
    """

    def __init__(self, kind: str, places: int) -> None:
        """Name what there is room for, in the plural."""
        self.taken = 0
        self._kind = kind
        self._places = places

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Take a place for the block; raises as `enter`."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Take a place.

        Raises:
            Refusal: 503, there is none. Nobody waits here: a queue of those who will have given up helps nobody.
        """
        if self.taken >= self._places:
            error = BackpressureError(
                f"this gateway is at {self._places} {self._kind} already; retry after {RETRY_AFTER_S:g} s",
                retry_after=RETRY_AFTER_S,
            )
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, error)
        self.taken += 1

    def leave(self) -> None:
        """Give a place back."""
        self.taken -= 1
