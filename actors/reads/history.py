"""What happened: the events of one document, and the feed of all changes for whoever follows them.

Only events that have landed are told, and only under the read lease.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from parquedb.actors.reads.timeline import Timeline
from parquedb.actors.state.lease import Lease
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.clock import Clock
from parquedb.errors import EventNotFoundError, ValidationError
from parquedb.errors.plain import repr_of
from parquedb.storage.history.source import HistorySource, PastEvent
from parquedb.storage.log.events import Action

PAGE_BYTES: Final = 1024 * 1024
"""An answer takes no more events once it holds so many bytes."""

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
WAIT_S_MAX: Final = 20.0

NAMES: Final[Mapping[str, str]] = {action.value: action.name.lower() for action in Action}
"""What each action is called outside."""


class History:
    """The history of one namespace.

    Args:
        state: Its committed state.
        source: Reads history segments.
        lease: Confirmed before each answer.
        clock: Measures how long a follower waits.
    """

    def __init__(self, state: NamespaceState, source: HistorySource, lease: Lease, clock: Clock) -> None:
        self._state = state
        self._source = source
        self._lease = lease
        self._clock = clock
        self._grown = asyncio.Event()
        self._over = False

    def progressed(self) -> None:
        """Wake whoever waits for the next change; called after each landed entry."""
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def stop(self) -> None:
        """Let those who wait go with what they have: nothing."""
        self._over = True
        self.progressed()

    async def changes(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the changes after a seq, oldest first.

        Args:
            options: `after`, the seq before the first; `limit`, how many at most; `wait_s`, for how long to wait for
                one when there is none yet.

        Returns:
            `{"changes": [[seq, time, action, id, document], ...]}`, where times are Unix microseconds; empty when
            none came in time.

        Raises:
            EventNotFoundError: changes right after `after` are not kept any more.
            ValidationError: `after` lies in the future, or an argument is of the wrong kind.
        """
        after, limit = _whole("after", options.get("after", 0), 0), _limit(options)
        wait_s = options.get("wait_s", 0.0)
        if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 <= wait_s <= WAIT_S_MAX:
            raise _refused("wait_s", f"seconds from 0 to {WAIT_S_MAX:g}", wait_s)
        end_s = self._clock.boot_s() + wait_s
        while True:
            line = await self._line()
            if after + 1 < line.next_seq:
                break
            if after >= line.next_seq:
                raise _refused("after", f"at most {line.next_seq - 1}, the seq of the last change", after)
            grown, left_s = self._grown, end_s - self._clock.boot_s()
            if left_s <= 0 or self._over:
                return {"changes": []}
            try:
                async with asyncio.timeout(left_s):
                    await grown.wait()
            except TimeoutError:
                return {"changes": []}
            if self._over:
                return {"changes": []}
        if after + 1 < line.floor:
            raise EventNotFoundError(namespace=self._state.namespace, after=after, oldest=line.floor)
        found, _ = await _page(line.events(self._source, after + 1, line.next_seq), limit)
        return {"changes": _wire(found)}

    async def of_document(self, id_: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the events of one document after a seq, oldest first.

        Args:
            id_: Its bare id.
            options: `after` and `limit`.

        Returns:
            `changes` as `changes` does; `more`, whether others follow; `oldest`, the first seq of which anything is
            kept; `cut`, whether the document may have events after `after` that are not.

        Raises:
            ValidationError: an argument is of the wrong kind.
        """
        after, limit = _whole("after", options.get("after", 0), 0), _limit(options)
        line = await self._line()
        found, more = await _page(line.of_document(self._source, id_, after + 1), limit)
        # A life that begins in what is kept is told whole.
        begun = bool(found) and found[0].event.action == Action.CREATE
        cut = after + 1 < line.floor and not begun
        return {"changes": _wire(found), "more": more, "oldest": line.floor, "cut": cut}

    async def _line(self) -> Timeline:
        if not self._lease.holds():
            await self._lease.confirm()
        return Timeline.of(self._state)


async def _page(pieces: AsyncIterator[list[PastEvent]], limit: int) -> tuple[list[PastEvent], bool]:
    """Return the first events, and whether there are more."""
    found: list[PastEvent] = []
    size = 0
    async for piece in pieces:
        for one in piece:
            if len(found) >= limit or size >= PAGE_BYTES:
                return found, True
            found.append(one)
            size += one.size
    return found, False


def _wire(events: Sequence[PastEvent]) -> list[list[Any]]:
    return [[one.seq, one.time_us, NAMES[one.event.action], one.event.id, one.event.document] for one in events]


def _limit(options: Mapping[str, Any]) -> int:
    return _whole("limit", options.get("limit", LIMIT_DEFAULT), 1, LIMIT_MAX)


def _whole(field: str, value: object, least: int, most: int | None = None) -> int:
    if type(value) is not int or value < least or (most is not None and value > most):
        upto = "" if most is None else f" to {most}"
        raise _refused(
            field, f"an int from {least}{upto}" if most is not None else f"an int of at least {least}", value
        )
    return value


def _refused(field: str, expected: str, actual: object) -> ValidationError:
    message = f"{field}: expected {expected}, got {repr_of(actual)}"
    return ValidationError(message, field=field, expected=expected, actual=actual)
