"""What all requests to one gateway process share: the database, the limits, the room there is."""

import asyncio
from typing import Final

from parquedb.access.principal import Principal
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.streams import Room
from parquedb.errors import ErrorCode, ParqueDBError
from parquedb.observability.metrics.highlights import Highlights
from parquedb.observability.metrics.http_requests import HttpRequests
from parquedb.settings.gateway import GatewaySettings

_OWN_FAILURES: Final = frozenset(
    {ErrorCode.RPC_ERROR, ErrorCode.RPC_TIMEOUT, ErrorCode.RPC_UNAVAILABLE, ErrorCode.RPC_INVALID_RESPONSE}
    | {ErrorCode.OUTCOME_UNKNOWN, ErrorCode.INTERNAL}
)
"""What no owner has answered: nobody but the gateway can tell of it."""


class Gateway:
    """One process that answers HTTP requests.

    Attributes:
        database: Where documents are.
        settings: The limits.
        requests: Room for requests.
        feeds: Room for change feeds.
        imports: Room for imports.
        exports: Room for exports.
        counts: Requests that were answered.
        highlights: What this process could not do, for the console.
        closing: Set when the process is about to end: feeds end then.
    """

    def __init__(self, database: AsyncDatabase, settings: GatewaySettings) -> None:
        self.database = database
        self.settings = settings
        self.requests = Room("requests", settings.requests_max)
        self.feeds = Room("change feeds", settings.streams_max)
        self.imports = Room("imports", settings.streams_max)
        self.exports = Room("exports", settings.streams_max)
        self.counts = HttpRequests()
        self.highlights = Highlights()
        self.closing = asyncio.Event()

    def database_for(self, principal: Principal) -> AsyncDatabase:
        """Return the database as a caller may use it; where owners demand grants, his permissions travel with calls."""
        return self.database.acting_for(principal.permissions)

    def note(self, namespace: str, operation: str, error: ParqueDBError, request_id: str) -> None:
        """Keep an error for the console, unless it is one that an owner tells of.

        Args:
            namespace: What it is about; empty where that is none.
            operation: What failed.
            error: How.
            request_id: Of the HTTP request.
        """
        if error.code in _OWN_FAILURES:
            self.highlights.failed(namespace, operation, error, request_id=request_id)
