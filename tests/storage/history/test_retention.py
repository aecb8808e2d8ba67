"""History segments as bytes, reading them in parts, and what of the past is kept."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import CorruptionError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.files.id_index import hash_ids
from parquedb.storage.history import retention as history
from parquedb.storage.history.retention import Retention, due_merge, trimmed
from parquedb.storage.history.segment import BLOCK_BYTES, Stored, build_segment, decode_segment, join_segments
from parquedb.storage.history.source import HistorySource
from parquedb.storage.log.entry import Header, LogEntry, encode_entry
from parquedb.storage.log.events import Event, encode_body
from parquedb.storage.log.manifest import (
    History,
    HistorySegment,
    PastFile,
    Segment,
    checksum,
    decode_manifest,
    encode_manifest,
)
from tests.storage.log.test_manifest import FULL
from tests.support.engines import inline

ALL = {f"d{number}" for number in range(100)}


def entries(count: int, *, start: int = 1, size: int = 10, per_entry: int = 2) -> list[Stored]:
    made = []
    rng = random.Random(start)
    for position in range(start, start + count):
        first_seq = 1 + (position - 1) * per_entry
        ids = [f"d{first_seq + at}" for at in range(per_entry)]
        events: list[Any] = [Event("c", id_, {"$id": f"posts/{id_}", "x": rng.randbytes(size)}) for id_ in ids]
        header = Header(
            b"i" * 16, position, b"c" * 16, b"p" * 16, 1, "write", first_seq, per_entry, 1000 * position, None
        )
        entry = LogEntry(header, encode_body(events, []))
        made.append((entry, encode_entry(entry)))
    return made


async def stored(count: int) -> tuple[HistorySource, list[HistorySegment], list[LogEntry], MemoryBackend]:
    store = MemoryBackend()
    made, every = [], []
    for number in range(count):
        some = entries(5, start=1 + 5 * number, size=BLOCK_BYTES // 4 if number % 2 else 10)
        segment, data = build_segment(f"tail/1-{number}", some)
        await store.create(f"posts/{segment.key}", data)
        made.append(segment)
        every += [entry for entry, _ in some]
    return (
        HistorySource(store, "posts/", DataFiles(store, "posts", cache_bytes_max=1 << 20, run=inline)),
        made,
        every,
        store,
    )


def test_a_segment_gives_its_entries_back_and_says_what_is_in_it() -> None:
    some = entries(9, start=4, size=BLOCK_BYTES // 3)
    segment, data = build_segment("tail/1-a", some)
    assert decode_segment("k", segment, data) == [entry for entry, _ in some]
    assert (segment.first_seq, segment.next_seq, segment.first_us, segment.newest_us) == (7, 25, 4000, 12000)
    assert (segment.count, segment.bytes, segment.checksum) == (9, len(data), checksum(data))


def test_a_segment_from_before_compression_is_still_read() -> None:
    some = entries(3)
    data = b"".join(part for _, raw in some for part in (len(raw).to_bytes(4, "little"), raw))
    assert decode_segment("k", Segment("tail/1-a", checksum(data), 1, 3), data) == [entry for entry, _ in some]


async def test_the_index_leads_to_each_document() -> None:
    source, [segment], every, _ = await stored(1)
    index = await source.index(segment)
    for event in await source.events_of(every, ALL):
        numbers = index.holding(hash_ids([event.event.id]))
        found = await source.events_of(await source.entries(segment, [index.blocks[number] for number in numbers]), ALL)
        assert event in found
    assert index.holding(hash_ids(["nobody"])) == []


async def test_joined_segments_hold_what_their_parts_held() -> None:
    source, parts, every, store = await stored(6)
    joint, data = join_segments("history/1-x", [(part, await source.whole(part)) for part in parts])
    assert decode_segment("k", joint, data) == every
    assert (joint.first_seq, joint.next_seq, joint.count) == (1, parts[-1].next_seq, 30)
    await store.create("posts/history/1-x", data)
    index = await source.index(joint)
    assert len(index.blocks) < 6 * 5
    for event in await source.events_of(every, ALL):
        blocks = [index.blocks[number] for number in index.holding(hash_ids([event.event.id]))]
        assert event in await source.events_of(await source.entries(joint, blocks), ALL)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9, 0.999])
async def test_damage_is_noticed_and_named_whatever_part_is_read(share: float) -> None:
    source, [segment], _, store = await stored(1)
    data = await store.read(f"posts/{segment.key}")
    at = int(len(data) * share)
    await store.write(f"posts/{segment.key}", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(CorruptionError, match="posts/tail/1-0"):
        await source.whole(segment)
    if at < 4:
        return  # The magic is of no account to who reads a part.
    with pytest.raises(CorruptionError, match="posts/tail/1-0"):
        await source.entries(segment, (await source.index(segment)).blocks)


async def test_a_missing_segment_is_corruption() -> None:
    source, [segment], _, store = await stored(1)
    await store.delete(f"posts/{segment.key}")
    for reading in (source.index(segment), source.whole(segment)):
        with pytest.raises(CorruptionError, match="missing, though the manifest names it"):
            await reading


def test_a_manifest_keeps_its_history_and_one_without_is_still_read() -> None:
    segment, _ = build_segment("tail/1-a", entries(2))
    kept = History((replace(segment, begins=True),), (PastFile({"key": "data/1-x", "bytes": 3}, 9),))
    manifest = replace(FULL, tails=(segment,), history=kept)
    assert decode_manifest("k", encode_manifest(manifest)) == manifest
    assert {"tail/1-a", "data/1-x"} <= manifest.objects
    assert decode_manifest("k", encode_manifest(FULL)).history == History()


def plain(key: int, size: int, *, begins: bool = True, newest_us: int = 0, first_seq: int = 0) -> HistorySegment:
    return HistorySegment(f"tail/1-{key}", 0, newest_us, 1, first_seq or key, key + 1, 0, size, 0, 0, begins)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=300), st.integers(0, 2**32))
def test_merging_keeps_the_list_short_and_rewrites_each_byte_seldom(sizes: list[int], seed: int) -> None:
    rng = random.Random(seed)
    kept: list[HistorySegment] = []
    written = total = 0
    for number, size in enumerate(sizes, 1):
        size = min(size, 10**6) if rng.random() < 0.9 else size  # noqa: PLW2901 - most flushes are small
        total += size
        kept.append(plain(number, size, begins=number == 1 or rng.random() < 0.7))
        due = due_merge(kept)
        if due is not None:
            start, stop = due
            joint = sum(segment.bytes for segment in kept[start:stop])
            assert joint <= history.MERGED_BYTES_MAX
            assert kept[start].begins
            written += joint
            kept[start:stop] = [plain(number, joint)]
    assert written <= 16 * total


def test_a_steady_stream_of_small_segments_stays_short() -> None:
    kept: list[HistorySegment] = []
    for number in range(1, 5000):
        kept.append(plain(number, 1000))
        while (due := due_merge(kept)) is not None:
            kept[due[0] : due[1]] = [plain(number, sum(segment.bytes for segment in kept[due[0] : due[1]]))]
    assert len(kept) <= 24


def test_history_is_cut_only_where_a_flush_ended() -> None:
    kept = History(
        (
            plain(1, 10, newest_us=10),
            plain(2, 10, begins=False, newest_us=100),
            plain(3, 10, newest_us=200),
            plain(4, 10, newest_us=300),
        ),
        (PastFile({"bytes": 5}, 2), PastFile({"bytes": 5}, 4)),
    )
    roomy = Retention(1000, 1000)

    def cut(retention: Retention, now_us: int) -> tuple[list[str], list[int]]:
        left = trimmed(kept, retention, now_us=now_us, end_seq=9)
        return [segment.key[-1] for segment in left.segments], [past.until for past in left.files]

    assert cut(roomy, 300) == (["1", "2", "3", "4"], [2, 4])
    assert cut(Retention(250, 1000), 300) == (["1", "2", "3", "4"], [2, 4])
    assert cut(Retention(150, 1000), 300) == (["3", "4"], [4])
    assert cut(Retention(1000, 49), 300) == (["3", "4"], [4])
    assert cut(Retention(1000, 14), 300) == (["4"], [])
    assert cut(Retention(0, 1000), 300) == ([], [])
