"""Point reads, id look-ups and what happens when an object is not what the manifest says."""

import asyncio
from dataclasses import replace

import pytest
import xxhash
from pyroaring import BitMap

from parquedb.errors import CorruptionError, InternalError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import build
from parquedb.storage.files.data_files import DataFiles, IndexNotLoaded, Location
from tests.support.columns import document, run

CACHE_BYTES = 32 * 1024 * 1024


class CountingStore(MemoryBackend):
    """Counts whole-object reads; each gives other tasks a turn."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    async def read(self, key, *, timeout_s=None):
        self.reads += 1
        await asyncio.sleep(0)
        return await super().read(key)


@pytest.fixture
def store():
    return CountingStore()


def files_on(store, cache_bytes_max=CACHE_BYTES):
    return DataFiles(store, "posts", cache_bytes_max=cache_bytes_max, run=run)


def rows(numbers, **body):
    return [(document({"n": number, **body}, number), 10 + number) for number in numbers]


async def stored(store, key, numbers, **body):
    built = build(key, rows(numbers, **body), ColumnRegistry.empty())
    await store.create(f"posts/{key}", built.data)
    return built


async def test_fetch_returns_documents_with_their_place(store):
    files = files_on(store)
    files.add((await stored(store, "data/1-a", range(0, 100, 2))).file)
    files.add((await stored(store, "data/1-b", range(1, 100, 2))).file)
    found = await files.fetch(["00004", "00007", "00099", "nope", "00004"])
    assert list(found) == ["00004", "00007", "00099"] or set(found) == {"00004", "00007", "00099"}
    assert found["00004"] == (Location("data/1-a", 2), document({"n": 4}, 4))
    assert found["00007"] == (Location("data/1-b", 3), document({"n": 7}, 7))
    assert store.reads == 2


async def test_many_rows_of_one_file_are_read_at_once_and_equal_single_reads(store):
    files = files_on(store)
    files.add((await stored(store, "data/1-a", range(2_000), w={"x": [1, 2]}, z=None)).file)
    many = await files.fetch([f"{number:05d}" for number in range(2_000)])
    assert len(many) == 2_000
    for id_ in ("00000", "01234", "01999"):
        assert many[id_] == (await files.fetch([id_]))[id_]
    assert store.reads == 1


async def test_a_request_to_the_store_does_not_outlive_those_who_wait_for_it_and_the_next_one_asks_anew(store):
    class Hanging(CountingStore):
        def __init__(self):
            super().__init__()
            self.asked, self.given_up, self.answers = asyncio.Event(), asyncio.Event(), False

        async def read(self, key, *, timeout_s=None):
            self.asked.set()
            try:
                if not self.answers:
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up.set()
                raise
            return await super().read(key)

    hanging = Hanging()
    files = files_on(hanging)
    files.add((await stored(hanging, "data/1-a", range(10))).file)
    readers = [asyncio.create_task(files.fetch([id_])) for id_ in ("00003", "00004")]
    await hanging.asked.wait()
    readers[0].cancel()
    await asyncio.wait(readers[:1])
    assert not hanging.given_up.is_set()
    readers[1].cancel()
    hanging.answers = True
    assert set(await files.fetch(["00003"])) == {"00003"}
    assert hanging.given_up.is_set()


async def test_a_file_just_built_is_read_without_storage(store):
    built = build("data/1-a", rows(range(10)), ColumnRegistry.empty())
    files = files_on(store)
    files.add(built.file, built)
    assert (await files.fetch(["00003"]))["00003"][1]["n"] == 3
    assert store.reads == 0


async def test_an_id_outside_every_file_touches_nothing(store):
    files = files_on(store)
    files.add((await stored(store, "data/1-a", range(10, 20))).file)
    assert await files.fetch(["00009", "00020"]) == {}
    assert files.locate_now("00009") is None
    assert store.reads == 0


async def test_dead_rows_are_not_found(store):
    files = files_on(store)
    files.add((await stored(store, "data/1-a", range(5))).file, dead=BitMap([1]))
    assert set(await files.fetch(["00001", "00002"])) == {"00002"}
    files.kill(Location("data/1-a", 2))
    assert await files.fetch(["00001", "00002"]) == {}
    assert files.locate_now("00002") is None
    assert files.live_dead == {"data/1-a": BitMap([1, 2])}


async def test_frozen_dead_rows_do_not_change_any_more(store):
    files = files_on(store)
    files.add((await stored(store, "data/1-a", range(5))).file)
    assert files.frozen_dead() == {}
    files.kill(Location("data/1-a", 0))
    before = files.frozen_dead()
    assert files.frozen_dead()["data/1-a"] is before["data/1-a"]
    files.kill(Location("data/1-a", 1))
    assert before["data/1-a"] == BitMap([0])
    assert files.frozen_dead()["data/1-a"] == BitMap([0, 1])


async def test_marking_a_row_that_does_not_exist_is_our_bug(store):
    files = files_on(store)
    with pytest.raises(InternalError, match="no row 0 of a data file 'data/1-a' to mark dead"):
        files.kill(Location("data/1-a", 0))


async def test_locating_without_waiting_asks_for_the_index_and_then_for_the_id(store):
    built = await stored(store, "data/1-a", range(10))
    files = files_on(store)
    files.add(built.file)
    with pytest.raises(IndexNotLoaded):
        files.locate_now("00003")
    await files.load_index()
    assert files.locate_now("000031") is None
    with pytest.raises(IndexNotLoaded):
        files.locate_now("00003")  # The hash is there, but a hash is no proof.
    await files.load_index(["00003"])
    assert files.locate_now("00003") == Location("data/1-a", 3)
    await files.fetch(["00004"])
    assert files.locate_now("00004") == Location("data/1-a", 4)


async def test_an_index_that_names_the_wrong_row_is_corruption(store):
    built = await stored(store, "data/1-a", range(3))
    hashes = built.id_hashes.copy()
    at = built.positions.tolist().index(1)
    hashes[at] = xxhash.xxh3_64_intdigest(b"000011")
    order = hashes.argsort()
    files = files_on(store)
    files.add(built.file, replace(built, id_hashes=hashes[order], positions=built.positions[order]))
    with pytest.raises(
        CorruptionError, match=r"'posts/data/1-a' is corrupt: row 1 holds the id '00001', its index says"
    ):
        await files.fetch(["000011"])


async def test_two_live_rows_of_one_id_are_corruption_that_names_both_files(store):
    files = files_on(store)
    for key in ("data/1-a", "data/1-b"):
        files.add((await stored(store, key, range(5))).file)
    message = (
        "object 'posts/data/1-a' is corrupt: two live rows claim the id '00002': row 2 here and row 2 of 'data/1-b'"
    )
    with pytest.raises(CorruptionError, match=message):
        await files.fetch(["00002"])
    with pytest.raises(CorruptionError, match=message):
        files.locate_now("00002")
    files.kill(Location("data/1-a", 2))
    assert (await files.fetch(["00002"]))["00002"][0].file == "data/1-b"


async def test_concurrent_readers_share_one_read_and_one_of_them_giving_up_harms_nobody(store):
    files = files_on(store)
    files.add((await stored(store, "data/1-a", range(50))).file)
    readers = [asyncio.create_task(files.fetch([f"{number:05d}"])) for number in range(20)]
    await asyncio.sleep(0)
    readers[0].cancel()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [result[f"{number:05d}"][1]["n"] for number, result in enumerate(results[1:], 1)] == list(range(1, 20))
    assert store.reads == 1


async def test_the_cache_stays_within_its_bytes_and_still_answers(store):
    files = files_on(store, cache_bytes_max=20_000)
    for number in range(6):
        files.add((await stored(store, f"data/1-{number}", range(number * 100, number * 100 + 100))).file)
    for _ in range(2):
        for number in range(6):
            assert len(await files.fetch([f"{number * 100 + at:05d}" for at in range(100)])) == 100
            assert 0 < files.cache.bytes <= 20_000
    assert store.reads > 6


async def test_a_cache_of_nothing_still_answers(store):
    files = files_on(store, cache_bytes_max=0)
    files.add((await stored(store, "data/1-a", range(10))).file)
    assert len(await files.fetch(["00001"])) == 1
    assert files.cache.bytes == 0


async def test_a_removed_file_is_no_longer_asked_and_leaves_no_memory(store):
    files = files_on(store)
    files.add((await stored(store, "data/1-a", range(10))).file)
    await files.fetch(["00001"])
    files.remove("data/1-a")
    assert files.files == ()
    assert files.cache.bytes == 0
    assert files.locate_now("00001") is None
    assert await files.fetch(["00001"]) == {}


# Objects that are not what the manifest says.


async def corrupted(store, data, **changes):
    file = (await stored(store, "data/1-a", range(10))).file
    if data is None:
        await store.delete("posts/data/1-a")
    else:
        await store.write("posts/data/1-a", data)
        changes = {"bytes": len(data), "checksum": xxhash.xxh3_64_intdigest(data)} | changes
    files = files_on(store)
    files.add(replace(file, **changes))
    with pytest.raises(CorruptionError) as caught:
        await files.fetch(["00001"])
    assert caught.value.key == "posts/data/1-a"
    return str(caught.value)


def parquet(numbers=range(10), namespace="posts"):
    return build("k", [(document({}, number, namespace), 1) for number in numbers], ColumnRegistry.empty()).data


async def test_a_missing_object_is_corruption(store):
    assert await corrupted(store, None) == "object 'posts/data/1-a' is corrupt: the object is missing"


async def test_a_truncated_object_is_corruption(store):
    assert "is corrupt: 100 bytes instead of 900" in await corrupted(store, parquet()[:100], bytes=900)


async def test_an_altered_object_is_corruption(store):
    assert await corrupted(store, parquet(), checksum=1) == "object 'posts/data/1-a' is corrupt: checksum differs"


async def test_an_object_that_is_no_parquet_is_corruption(store):
    assert "is corrupt: not a readable Parquet file: " in await corrupted(store, b"nonsense" * 20)


async def test_a_file_with_damaged_pages_is_corruption(store):
    data = bytearray(parquet())
    data[4:120] = bytes(116)
    assert "is corrupt: row group 0 cannot be decoded: " in await corrupted(store, bytes(data))


async def test_another_number_of_rows_is_corruption(store):
    assert "is corrupt: 9 rows instead of 10" in await corrupted(store, parquet(range(9)))


async def test_other_ids_than_the_manifest_says_are_corruption(store):
    assert "ids '00001' to '00010' instead of '00000' to '00009'" in await corrupted(store, parquet(range(1, 11)))


async def test_a_file_of_another_namespace_is_corruption(store):
    message = await corrupted(store, parquet(namespace="users"))
    assert "is corrupt: $id of a row is not of namespace 'posts'" in message


async def test_an_error_is_not_remembered(store):
    built = await stored(store, "data/1-a", range(10))
    await store.delete("posts/data/1-a")
    files = files_on(store)
    files.add(built.file)
    with pytest.raises(CorruptionError):
        await files.fetch(["00001"])
    await store.create("posts/data/1-a", built.data)
    assert set(await files.fetch(["00001"])) == {"00001"}
