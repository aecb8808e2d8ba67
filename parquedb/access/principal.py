"""Who asks: a name, what it may do, and how it has proved that."""

from dataclasses import dataclass, field
from typing import Literal

from parquedb.access.permissions import Permissions


@dataclass(frozen=True)
class Principal:
    """A caller whose identity has been established.

    Attributes:
        subject: Its name; documents that it writes say `createdBy` and `updatedBy` it.
        permissions: What it may do.
        authenticated_by: How it proved who it is; `none` where nobody is asked.
        expires_s: When the proof runs out, seconds of Unix time: streams end then. None for never.
        requests_max: Requests that it may make in one window, where that is not what all others may.
    """

    subject: str
    permissions: Permissions = field(default_factory=Permissions)
    authenticated_by: Literal["jwt", "api_key", "none"] = "none"
    expires_s: float | None = None
    requests_max: int | None = None
