"""Lanes of a link, so that nobody waits for a stranger's slow answer.

Three of them: single writes, reads by id, and everything that may be long (queries, bulk writes), which travels alone.
"""

from typing import Final, NamedTuple

from parquedb.actors.requests.operations import Operation
from parquedb.admission import QueueBounds
from parquedb.settings import ClientSettings

BULK_CALLS_MAX: Final = 64
"""Long operations of one process that may be under way to one namespace (count); more of them queue."""

SINGLE_WRITES: Final = frozenset({"create", "update", "replace", "delete", "restore"})


class LaneBounds(NamedTuple):
    """What a lane carries.

    Attributes:
        calls_max: Calls under way (count).
        ops_max: Operations of one call.
    """

    calls_max: int
    ops_max: int


def lane_bounds(settings: ClientSettings) -> tuple[LaneBounds, LaneBounds, LaneBounds]:
    """Return the bounds of the lanes: single writes, reads by id, everything else."""
    packed = LaneBounds(settings.calls_in_flight_max, settings.batch_ops_max)
    return packed, packed, LaneBounds(BULK_CALLS_MAX, 1)


def queue_bounds(settings: ClientSettings) -> QueueBounds:
    """Return how much may wait for each lane."""
    return QueueBounds(settings.queue_ops_max, settings.queue_bytes_max, settings.queue_age_max_s)


def is_quick(operation: Operation) -> bool:
    """Whether an operation is a read by id that leaves with others."""
    return operation.kind == "get" and "as_of" not in operation.options
