"""What all requests to one gateway process share: the database, the limits, the room there is."""

import asyncio

from parquedb.access.principal import Principal
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.streams import Room
from parquedb.observability.metrics.highlights import Highlights
from parquedb.observability.metrics.http_requests import HttpRequests
from parquedb.settings.gateway import GatewaySettings


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
