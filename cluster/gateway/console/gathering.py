"""Looking at the owners for the console: at most once a second, however many pages ask, and waking nobody."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from parquedb.access.permissions import Permissions
from parquedb.cluster.gateway.console.rates import Flows, Rates
from parquedb.cluster.gateway.gateway import Gateway
from parquedb.cluster.overview.survey import DatabaseSurvey
from parquedb.errors import ParqueDBError
from parquedb.observability.logs import get_logger
from parquedb.observability.metrics.highlights import RecentError

CACHE_S: Final = 1.0
"""Seconds for which a look is shown again."""

LISTED_S: Final = 30.0
"""Seconds after which the store is asked again which namespaces there are: that is a request to it, and some cost."""

LOOK_TIMEOUT_S: Final = 3.0
"""Seconds that owners have for their answers; who is late is shown as not answering."""

LISTING_WAIT_S: Final = 2.0
"""Seconds that the first look waits for the names; later ones show what is known."""

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Moment:
    """What one look found.

    Attributes:
        time_s: When, Unix time.
        survey: What the owners said.
        flows: What they have done of late.
        names: All namespaces, those too that have no owner now; None while that is not known.
        errors: What this gateway could not do.
        answers: Made of it already, by the permissions of who asked.
    """

    time_s: float
    survey: DatabaseSurvey
    flows: Flows
    names: tuple[str, ...] | None
    errors: tuple[RecentError, ...] = ()
    answers: dict[Permissions, bytes] = field(default_factory=dict)


class Gathering:
    """Looks. Belongs to one event loop.

    Args:
        gateway: Whose database is looked at.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._rates = Rates()
        self._looking: asyncio.Task[Moment] | None = None
        self._looked_s = float("-inf")
        self._names: tuple[str, ...] | None = None
        self._listing: asyncio.Task[None] | None = None
        self._listed_s = float("-inf")

    async def look(self) -> Moment:
        """Return a look that is at most `CACHE_S` old when it is begun."""
        looking = self._looking
        if looking is None or (looking.done() and time.monotonic() - self._looked_s >= CACHE_S):
            looking = self._looking = asyncio.create_task(self._look())
        # Whoever gives up must not take the look away from the others.
        return await asyncio.shield(looking)

    async def close(self) -> None:
        """Stop looking."""
        tasks = [task for task in (self._looking, self._listing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> Moment:
        names, survey = await asyncio.gather(self._known_names(), self._survey())
        self._looked_s = now_s = time.monotonic()
        if names is not None:
            names = tuple(sorted({*names, *survey.owners, *survey.silent}))
        flows = self._rates.since(now_s, survey.owners)
        return Moment(time.time(), survey, flows, names, self._gateway.highlights.errors())

    async def _survey(self) -> DatabaseSurvey:
        database = self._gateway.database
        try:
            grant = database._credentials.grant()
            return await asyncio.to_thread(database._connection.survey, LOOK_TIMEOUT_S, grant)
        except ParqueDBError as error:
            return DatabaseSurvey(error=f"{error.code.value}: {error.message}")

    async def _known_names(self) -> tuple[str, ...] | None:
        listing = self._listing
        if (listing is None or listing.done()) and time.monotonic() - self._listed_s >= LISTED_S:
            listing = self._listing = asyncio.create_task(self._list())
        if self._names is None and listing is not None:
            await asyncio.wait({listing}, timeout=LISTING_WAIT_S)
        return self._names

    async def _list(self) -> None:
        self._listed_s = time.monotonic()
        try:
            self._names = tuple(await self._gateway.database.namespaces())
        except ParqueDBError as error:
            _logger.warning("the namespaces could not be listed for the console: %s", error, exc_info=error)
