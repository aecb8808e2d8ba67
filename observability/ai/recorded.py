"""What is told of requests to models: whether they were stored, in which ways they failed, and to whoever looks on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from parquedb.errors import ParqueDBError
from parquedb.observability.ai.request import AIRequest, Cost


class Observer(Protocol):
    """Is told of every request that was stored."""

    def observe(self, request: AIRequest, cost: Cost) -> None:
        """Look at a request."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of requests that were reported.

    Attributes:
        stored: How many are new.
        duplicates: How many were there already.
        sampled_out: How many were left out, because only some are kept.
        failures: Those that could not be stored, by position, with the reason.
    """

    stored: int = 0
    duplicates: int = 0
    sampled_out: int = 0
    failures: Mapping[int, ParqueDBError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Requests that failed in one way.

    Attributes:
        error: Kind of error; empty where none was told.
        count: How many.
        share: Of all requests in the time asked for, 0 to 1.
        models: How many by model.
        last: When the latest of them began.
    """

    error: str
    count: int
    share: float
    models: Mapping[str, int]
    last: datetime
