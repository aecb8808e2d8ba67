"""The seam between the gateway and whoever establishes identities: one question, and who believes everybody."""

from typing import Final, Protocol

from parquedb.access.permissions import ALL, Permissions
from parquedb.access.principal import Principal


class Authenticator(Protocol):
    """Tells who a caller is."""

    async def authenticate(self, authorization: str | None, api_key: str | None) -> Principal:
        """Return who sends a request.

        Args:
            authorization: The request's `Authorization` field; None when it has none.
            api_key: Its `X-API-Key` field.

        Raises:
            AuthenticationRequiredError: it carries no proof, more than one, or one that is not valid.
            TokenExpiredError: the proof was valid once.
            ParqueDBError: the proof cannot be checked at present, such as RpcUnavailableError.
        """

    async def close(self) -> None:
        """Let go of connections and tasks."""


class Anonymous:
    """Believes everybody, and lets them do everything: for development on one's own machine."""

    principal: Final = Principal("anonymous", Permissions([ALL]))

    async def authenticate(self, authorization: str | None, api_key: str | None) -> Principal:  # noqa: ARG002 - the seam
        """Return the same principal for every request."""
        return self.principal

    async def close(self) -> None:
        """Nothing to let go of."""
