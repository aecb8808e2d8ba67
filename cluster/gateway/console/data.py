"""`GET /console/data`: all that a page shows of the database as a whole, in one answer that many pages share."""

from typing import Final

import orjson
from starlette.responses import Response

from parquedb.cluster.gateway.answers import JSON
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.console.answer import answer
from parquedb.cluster.gateway.console.gathering import Gathering, Moment
from parquedb.cluster.gateway.gateway import Gateway

_ANSWERS_MAX: Final = 32
"""Callers with different permissions for whom the answer of one look is kept."""


class ConsoleData:
    """Answers the polls of pages.

    Args:
        gateway: Whose database they show.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gathering = Gathering(gateway)

    async def answer(self, call: Call) -> Response:
        """Return what the caller may see."""
        call.query.expect()
        call.operation = "console"
        return Response(self._encoded(await self._gathering.look(), call), media_type=JSON)

    async def close(self) -> None:
        """Stop looking."""
        await self._gathering.close()

    @staticmethod
    def _encoded(moment: Moment, call: Call) -> bytes:
        permissions = call.principal.permissions
        found = moment.answers.get(permissions)
        if found is None:
            found = orjson.dumps(answer(moment, permissions))
            if len(moment.answers) < _ANSWERS_MAX:
                moment.answers[permissions] = found
        return found
