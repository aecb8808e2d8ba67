"""What goes wrong in each drill, in the order of the runbook; how the site's commands mend it is beside it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.drills import callers_trouble, process_trouble, store_trouble
from tests.drills.stage import Stage


@dataclass(frozen=True)
class Incident:
    """One kind of trouble.

    Attributes:
        name: Of its entry in the runbook.
        happen: Makes it happen, and provides the commands that its remedy needs.
        on_disk: Whether the database is in a directory on a small disk; otherwise it is on S3.
        settings: Of the database.
    """

    name: str
    happen: Callable[[Stage], Awaitable[None]]
    on_disk: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


SHORT_QUEUE: Final = {"engine": {"queue_ops_max": 16, "group_ops_max": 16}}
NO_CACHES: Final = {"engine": {"cache_bytes_max": 0, "document_cache_bytes_max": 0}}

INCIDENTS: Final = (
    Incident("storage-down", store_trouble.storage_down),
    Incident("slow-storage", store_trouble.slow_storage),
    Incident("growing-lag", store_trouble.growing_lag),
    Incident("full-disk", store_trouble.full_disk, on_disk=True),
    Incident("corrupt-object", store_trouble.corrupt_object),
    Incident("high-error-rate", store_trouble.high_error_rate),
    Incident("slow-opening", store_trouble.slow_opening),
    Incident("split-brain", process_trouble.split_brain),
    Incident("lost-node", process_trouble.lost_node),
    Incident("silent-owner", process_trouble.silent_owner),
    Incident("owners-that-do-not-stay", process_trouble.owners_that_do_not_stay),
    Incident("bad-deploy", process_trouble.bad_deploy),
    Incident("lost-gateway", process_trouble.lost_gateway),
    Incident("hot-namespace", callers_trouble.hot_namespace, settings=SHORT_QUEUE),
    Incident("version-conflict-storm", callers_trouble.version_conflict_storm),
    Incident("high-latency", callers_trouble.high_latency),
    Incident("cold-cache", callers_trouble.cold_cache, settings=NO_CACHES),
)
