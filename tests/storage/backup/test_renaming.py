"""A namespace restored under another name tells the same story, with its new name in every id."""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from parquedb.actors.requests.operations import SessionRequest
from parquedb.errors import CorruptionError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.verification.rules import Severity
from parquedb.storage.verification.verifier import Verifier
from tests.support.backups import contents, put_back, put_back_as, take, told
from tests.support.engines import NAMESPACE, inline, opened, outcome, run, settings
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
        made = Verifier(target, NAME, settings(**life.settings), clock=life.clock, run=inline)
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
