"""What all requests to one gateway process share: the database, the limits, who tells callers apart."""

from typing import Final

from parquedb.access.principal import Principal
from parquedb.cluster.client.async_database import AsyncDatabase
from parquedb.cluster.gateway.access.authenticator import Authenticator
from parquedb.gateway_settings import GatewaySettings

RETRY_AFTER_S: Final = 1.0
"""Seconds after which a caller who found no room may come back."""


class Gateway:
    """One process that answers HTTP requests.

    Attributes:
        database: Where documents are.
        settings: The limits.
        authenticator: Tells who a caller is.
    """

    def __init__(self, database: AsyncDatabase, settings: GatewaySettings, authenticator: Authenticator) -> None:
        self.database = database
        self.settings = settings
        self.authenticator = authenticator

    def database_for(self, principal: Principal) -> AsyncDatabase:
        """Return the database as a caller may use it."""
        # Where owners demand grants, the callers' permissions travel with each call.
        acting_for = getattr(self.database, "acting_for", None)
        return self.database if acting_for is None else acting_for(principal.permissions)
