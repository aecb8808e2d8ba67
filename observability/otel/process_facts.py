"""What telemetry says of this process as a whole, besides what it finds out by itself; see `resource`.

Apart from `resource`, because every owner says who it is, and few import the OpenTelemetry SDK.
"""

from collections.abc import Mapping
from typing import Any, Final

FACTS: Final[dict[str, Any]] = {"parquedb.process.role": "client"}
"""Attributes by name."""


def describe_process(facts: Mapping[str, Any]) -> None:
    """Add attributes to the resource of this process; to be called before anything is sent."""
    FACTS.update(facts)
