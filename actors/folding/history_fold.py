"""What a fold does with the past.

It stores the writes that it folds as a segment, hands segments over to history at a flush, drops what is too old, and
joins small segments.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from parquedb.actors.state.frames import Frozen, Recent
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.errors import ParqueDBError
from parquedb.observability.logs import get_logger
from parquedb.storage.history import retention as history
from parquedb.storage.history.segment import Stored, build_segment, join_segments
from parquedb.storage.history.source import HistorySource
from parquedb.storage.log.entry import Kind, decode_entry, entry_key
from parquedb.storage.log.manifest import History, HistorySegment, Segment

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
Create = Callable[[str, bytes], Awaitable[None]]

_logger = get_logger(__name__)


class HistoryFold:
    """The history's part in folds of one namespace.

    Args:
        state: Whose segments these are.
        source: Reads segments.
        name: Makes the key of a new object in a folder.
        create: Stores an object.
        run: Runs CPU work off the event loop.
    """

    def __init__(
        self,
        state: NamespaceState,
        source: HistorySource,
        *,
        name: Callable[[str], str],
        create: Create,
        run: Run,
    ) -> None:
        self._state = state
        self._source = source
        self._name = name
        self._create = create
        self._run = run

    async def fold(self, frame: Frozen, merged: Mapping[str, bool]) -> tuple[tuple[Segment, ...], History]:
        """Store the writes that a manifest folds.

        Args:
            frame: What is folded.
            merged: Keys of data files that leave with this manifest, and whether superseded rows go with them.

        Returns:
            The manifest's tails and its history.

        Raises:
            ParqueDBError: storage refused.
        """
        tails = (*self._state.tails, *await self._stored(frame))
        kept = self._state.history
        named = {key for one in (*kept.segments, *tails) if isinstance(one, HistorySegment) for key in one.files}
        needed = {key for key, superseded in merged.items() if superseded or key in named}
        files = [file.to_wire() for file in self._state.files.files if file.key in needed]
        kept = history.retired(kept, files, frame.next_seq)
        if frame.memtable is not None:
            tails, kept = (), history.flushed(kept, tails)
        end_seq = next((one.first_seq for one in tails if isinstance(one, HistorySegment)), frame.next_seq)
        settings = self._state.settings
        retention = history.Retention(int(settings.history_window_s * 1_000_000), settings.history_bytes_max)
        kept = history.trimmed(kept, retention, now_us=frame.log_time_us, end_seq=end_seq)
        return tails, await self._merged(kept)

    async def _stored(self, frame: Frozen) -> list[HistorySegment]:
        writes = [entry for entry in frame.recent if entry.kind in {Kind.WRITE, Kind.BULK}]
        if not writes:
            return []
        key = self._name("tail")
        segment, data = await self._run(lambda: build_segment(key, [_stored(entry) for entry in writes]))
        await self._create(key, data)
        return [segment]

    async def _merged(self, kept: History) -> History:
        due = history.due_merge(kept.segments)
        if due is None:
            return kept
        start, stop = due
        inputs = kept.segments[start:stop]
        key = self._name("history")
        try:
            objects = [(segment, await self._source.whole(segment)) for segment in inputs]
            built, data = await self._run(lambda: join_segments(key, objects))
            await self._create(key, data)
        except ParqueDBError as error:
            # Damage to the past must not keep the present from being folded.
            _logger.warning("namespace %s: history segments stay unmerged: %s", self._state.namespace, error)
            return kept
        merged = replace(built, begins=inputs[0].begins)
        return replace(kept, segments=(*kept.segments[:start], merged, *kept.segments[stop:]))


def _stored(recent: Recent) -> Stored:
    return decode_entry(entry_key(recent.position), recent.data), recent.data
