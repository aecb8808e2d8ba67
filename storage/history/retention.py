"""Which of the past is kept: pure decisions over what a manifest says of it (`parquedb.storage.log.manifest.History`).

History may begin only where a flush ended (`HistorySegment.begins`): what a document was before an event that is kept
is then either in a kept event, or in a row of a data file, live, dead or of the past.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from parquedb.storage.log.manifest import History, HistorySegment, PastFile, Segment

MERGE_MIN: Final = 4
"""Segments are merged when together they are so many times as large as the largest of them: each event is rewritten
about once for each such step in size."""

MERGED_BYTES_MAX: Final = 64 * 1024 * 1024
SEGMENTS_MAX: Final = 2048
PAST_FILES_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past is kept.

    Attributes:
        window_us: Microseconds of log time.
        bytes_max: Bytes stored, of segments and of data files of the past.
    """

    window_us: int
    bytes_max: int


def flushed(history: History, tails: Sequence[Segment]) -> History:
    """Return the history with the segments that a flush sets free.

    Args:
        history: Of the manifest before.
        tails: All segments whose events the flush turned into Parquet, oldest first.
    """
    fresh = [segment for segment in tails if isinstance(segment, HistorySegment)]
    if len(fresh) < len(tails):
        return History()  # Some are from before there was a history: it begins with the next one.
    if not fresh:
        return history
    return replace(history, segments=(*history.segments, replace(fresh[0], begins=True), *fresh[1:]))


def retired(history: History, files: Iterable[Mapping[str, Any]], next_seq: int) -> History:
    """Return the history with data files that a merge replaced and that are still needed.

    Args:
        history: Before the merge.
        files: Wire forms of those files.
        next_seq: When the merge took their place; events that superseded rows of theirs come before.
    """
    return replace(history, files=(*history.files, *(PastFile(dict(file), next_seq) for file in files)))


def trimmed(history: History, retention: Retention, *, now_us: int, end_seq: int) -> History:
    """Return the history without what is older than the window or more than the bounds allow.

    Args:
        history: Before.
        retention: See there.
        now_us: Log time, Unix microseconds.
        end_seq: The first seq after the segments: where the tails begin.
    """
    segments, files = list(history.segments), list(history.files)
    while segments:
        stored = sum(segment.bytes for segment in segments) + sum(past.file["bytes"] for past in files)
        # A group counts by its newest event: a document may have been in any of its states for the whole window.
        group = next((at for at, segment in enumerate(segments[1:], 1) if segment.begins), len(segments))
        keep = (
            segments[group - 1].newest_us > now_us - retention.window_us
            and stored <= retention.bytes_max
            and len(segments) <= SEGMENTS_MAX
            and len(files) <= PAST_FILES_MAX
        )
        if keep:
            break
        del segments[:group]
        files = _needed(files, segments[0].first_seq if segments else end_seq)
    else:
        files = _needed(files, end_seq)
    return History(tuple(segments), tuple(files))


def _needed(files: Iterable[PastFile], floor: int) -> list[PastFile]:
    return [past for past in files if past.until > floor]


def due_merge(segments: Sequence[HistorySegment]) -> tuple[int, int] | None:
    """Return which neighbours (start inclusive, stop exclusive) to join into one segment; None when none are due."""
    best: tuple[int, int] | None = None
    for start, first in enumerate(segments):
        if not first.begins:
            continue  # The joint one begins where its first does, and the history must be able to begin at each flush.
        total, largest = 0, 0
        for stop, segment in enumerate(segments[start:], start + 1):
            total, largest = total + segment.bytes, max(largest, segment.bytes)
            if total > MERGED_BYTES_MAX:
                break
            longest = best is None or stop - start > best[1] - best[0]
            if total >= MERGE_MIN * largest and stop - start >= MERGE_MIN and longest:
                best = start, stop
    return best
