"""A namespace restored under another name tells the same story, with its new name in every id."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import UPDATES, Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import (
    decode_operations,
    decode_outcomes,
    encode_operations,
    encode_outcomes,
    whole,
)
from parquedb.errors import CorruptionError, StorageWriteError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.history.segment import decode_segment
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.entry import decode_entry
from parquedb.storage.log.manifest import Manifest, decode_manifest
from parquedb.storage.verification.report import Level
from parquedb.storage.verification.rules import Severity
from parquedb.storage.verification.verifier import Verifier
from tests.support.backups import contents, put_back, put_back_as, take, told
from tests.support.engines import NAMESPACE, inline, opened, outcome, run, settings
from tests.support.file_size import file_size_limit
from tests.support.pasts import MANY, Life, random_steps
from tests.support.vault import furnish
from tests.support.virtual_loop import Process, SimClock, run_virtually

NAME = "Ünïcode papers"


def renamed(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    return {**document, "$id": f"{NAME}/{document['$id'].removeprefix(NAMESPACE + '/')}"}


@pytest.mark.parametrize("seed", range(12))
def test_a_renamed_point_tells_what_the_original_told_then(seed: int) -> None:
    rng = random.Random(seed)
    kind = [{}, {"checkpoint_entries_max": 2, "snapshot_grace_s": 20}, {"flush_rows": 3}][seed % 3]

    async def live() -> None:
        life = await Life.begin(SimClock(Process("owner")), **kind)
        await life.live(random_steps(rng, 60))
        archive, target = MemoryBackend(clock=life.clock), MemoryBackend(clock=life.clock)
        await take(life.store, archive, clock=life.clock, **life.settings)
        point = await put_back_as(archive, target, NAME, clock=life.clock)
        for level in Level:
            made = Verifier(target, NAME, settings(**life.settings), clock=life.clock, level=level, run=inline)
            report = await made.verify()
            assert [one for one in report.findings if one.severity is not Severity.INFORMATION] == []
        found = await told(target, MANY, clock=life.clock, namespace=NAME, **life.settings)
        assert point.seq == len(life.states) - 1
        assert found["documents"] == {id_: renamed(document) for id_, document in life.states[-1].items()}
        first = found["feed"][0][0]
        expected = [(id_, renamed(document)) for id_, document in life.events[first - 1 :]]
        assert [(one[3], one[4]) for one in found["feed"]] == expected
        for id_, changes in found["histories"].items():
            mine = [(at, renamed(one[1])) for at, one in enumerate(life.events, 1) if one[0] == id_ and at >= first]
            assert [(one[0], one[4]) for one in changes if one[0] >= first] == mine
        life.owner.abandon()

    run_virtually(live)


@pytest.mark.parametrize("folded", [False, True], ids=["in the log", "folded"])
async def test_answers_that_are_remembered_carry_the_new_name(folded: bool) -> None:
    requests: list[Any] = ["once", SessionRequest(b"s" * 16, 1, 1, 0)]
    source, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    async with opened(source) as owner:
        firsts = [await outcome(owner, "create", f"d{at}", {"n": at}, request=one) for at, one in enumerate(requests)]
        if folded:
            await owner.flush()
        await take(source, place)
    await put_back_as(place, target, NAME)
    async with opened(target, namespace=NAME) as owner:
        for at, (request, first) in enumerate(zip(requests, firsts, strict=True)):
            again = await outcome(owner, "create", f"d{at}", {"n": at}, request=request)
            assert again.seq == first.seq
            assert again.result()["$id"] == f"{NAME}/d{at}"
            assert again.result()["version"] == first.result()["version"]


async def written_by_clients(store: MemoryBackend) -> None:
    """Store creates and updates that left their client joined, answered requests of both kinds, and all else."""
    await furnish(store)
    async with opened(store, checkpoint_entries_max=2) as owner:
        for turn in range(6):
            numbers = range(1, 4)
            session = bytes([turn]) * 16
            creates = [
                Operation("create", None, {"n": n}, request=SessionRequest(session, n, 1, 0), size=50) for n in numbers
            ]
            ids = [str(one.result()["$id"]).partition("/")[2] for one in await sent(owner, creates)]
            updates = [
                arguments.update(NAMESPACE, id_, {"$inc": {"n": 1}}, request_id=SessionRequest(session, 4 + at, 1, 0))
                for at, id_ in enumerate(ids)
            ]
            assert [one.kind for one in decode_operations(encode_operations(updates))] == [UPDATES]
            for one in await sent(owner, updates):
                one.result()
            await run(owner, "create", f"own{turn}", {"n": turn}, request=f"own{turn}")
            if turn in {2, 4}:
                await owner.flush()


async def sent(owner: NamespaceEngine, operations: list[Operation]) -> list[Outcome]:
    """Send operations as a client does and return what it learns."""
    arrived = decode_operations(encode_operations(operations))
    reply = encode_outcomes(arrived, await owner.execute(arrived), 0.0)
    return [whole(*pair) for pair in zip(operations, decode_outcomes(reply)[0], strict=True)]


async def spelled_out(store: MemoryBackend, name: str) -> tuple[bytes, Manifest]:
    """Return everything that is stored of a namespace, nothing of it compressed, and its manifest."""
    objects = {key.partition("/")[2]: data for key, data in (await contents(store, namespace_prefix(name))).items()}
    newest = decode_entry("", objects[min(key for key in objects if key.startswith("log/"))])
    manifest = decode_manifest("", objects[newest.header.base.manifest])
    parts = []
    for key, data in objects.items():
        if key.startswith("data/"):
            parts.append(repr(pq.read_table(pa.BufferReader(data)).to_pylist()).encode())
        else:
            parts.append(data)
    for segment in (*manifest.tails, *manifest.history.segments):
        parts += [entry.body for entry in decode_segment(segment.key, segment, objects[segment.key])]
    return b"".join(parts), manifest


async def test_the_old_name_is_nowhere_any_more_and_the_history_begins_where_it_did() -> None:
    store, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    await written_by_clients(store)
    await take(store, place)
    await put_back_as(place, target, "papers")
    before, was = await spelled_out(store, NAMESPACE)
    after, now = await spelled_out(target, "papers")
    assert before.count(b"posts/") > 100
    assert after.count(b"posts/") == 0
    assert after.count(b"papers/") >= 100
    assert was.history.segments
    assert was.request_ids
    facts = [
        [(one.key, one.begins, one.count, one.first_seq, one.next_seq) for one in m.history.segments]
        for m in (was, now)
    ]
    assert facts[0] == facts[1]


async def test_both_names_live_beside_each_other_in_one_database() -> None:
    store, place = MemoryBackend(), MemoryBackend()
    await furnish(store)
    await take(store, place)
    before = await contents(store)
    await put_back_as(place, store, NAME)
    assert {key: data for key, data in (await contents(store)).items() if key in before} == before
    async with opened(store) as old, opened(store, namespace=NAME) as new:
        await run(new, "update", "last", {"$set": {"n": "new"}})
        assert (await run(old, "get", "last"))["n"] == 1
        assert (await run(new, "get", "last"))["n"] == "new"


async def test_files_keep_their_rows_row_groups_and_encodings(tmp_path: Path) -> None:
    store, place, plain, named = MemoryBackend(), MemoryBackend(), MemoryBackend(), MemoryBackend()
    await furnish(store)
    await take(store, place)
    await put_back(place, plain)
    await put_back_as(place, named, "papers")
    files = {key: data for key, data in (await contents(plain)).items() if "/data/" in key}
    assert files
    for key, data in files.items():
        (tmp_path / "a").write_bytes(data)
        (tmp_path / "b").write_bytes(await named.read("papers/" + key.partition("/")[2]))
        one, other = pq.ParquetFile(tmp_path / "a"), pq.ParquetFile(tmp_path / "b")
        assert one.schema_arrow.equals(other.schema_arrow, check_metadata=True)
        assert one.read().drop_columns("$id").equals(other.read().drop_columns("$id"))
        for group in range(one.metadata.num_row_groups):
            mine, theirs = one.metadata.row_group(group), other.metadata.row_group(group)
            assert (mine.num_rows, mine.sorting_columns) == (theirs.num_rows, theirs.sorting_columns)
            for at in range(mine.num_columns):
                facts = [(c.compression, c.has_dictionary_page) for c in (mine.column(at), theirs.column(at))]
                assert facts[0] == facts[1]


async def test_what_is_damaged_is_named_and_nothing_is_restored() -> None:
    store, place, target = MemoryBackend(), MemoryBackend(), MemoryBackend()
    await furnish(store)
    await take(store, place)
    for folder in ("data", "tail", "manifest", "log", "dedupe"):
        key = next(key for key in await contents(place) if f"/{folder}/" in key)
        data = await place.read(key)
        await place.write(key, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(CorruptionError) as raised:
            await put_back_as(place, target, NAME)
        assert raised.value.key == key
        await place.write(key, data)
    assert await contents(target) == {}


async def test_a_renaming_that_finds_no_room_does_not_call_the_backup_damaged() -> None:
    source, place = MemoryBackend(), MemoryBackend()
    await furnish(source)
    await take(source, place)
    with file_size_limit(100), pytest.raises(StorageWriteError, match="TMPDIR names another folder"):
        await put_back_as(place, MemoryBackend(), NAME)
