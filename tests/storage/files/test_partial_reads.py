"""Reading parts of a data file: only what is needed, and nothing damaged goes unnoticed."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from parquedb.documents.filters import compile_filter
from parquedb.errors import CorruptionError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files import data_file
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import Built, DataFile
from parquedb.storage.files.data_files import DataFiles
from parquedb.storage.files.partial_reads import Parts, tail_of, worth_it
from parquedb.storage.query import scan
from parquedb.storage.query.scan_plan import ScanSnapshot
from tests.support.engines import inline

KEY = "posts/data/1-a.parquet"
WHICH = {"color": "red", "n": {"$gt": 500}}


class Counting(MemoryBackend):
    """Remembers how many bytes were read."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = self.ranged = 0

    async def read(self, key: str, **more: Any) -> bytes:
        data = await super().read(key, **more)
        self.whole += len(data)
        return data

    async def read_range(self, key: str, start: int, length: int, **more: Any) -> bytes:
        data = await super().read_range(key, start, length, **more)
        self.ranged += len(data)
        return data


def document(n: int, rng: random.Random) -> dict[str, Any]:
    color = rng.choice(["red", "blue"])
    return {"$id": f"posts/{n:05}", "version": 1, "n": n, "color": color, "text": rng.randbytes(900).hex()}


@pytest.fixture(scope="module")
def built() -> Built:
    """A file above the size from which parts are read: most of it is text no query looks at."""
    rng = random.Random(1)
    rows = [(document(n, rng), n) for n in range(2_000)]
    return data_file.build("data/1-a.parquet", rows, ColumnRegistry.empty())


async def placed(built: Built, change: Callable[[bytearray], object] = lambda _: None) -> tuple[Counting, DataFiles]:
    store = Counting()
    data = bytearray(built.data)
    change(data)
    await store.create(KEY, bytes(data))
    files = DataFiles(store, "posts", cache_bytes_max=1 << 30, run=inline)
    files.add(built.file)
    return store, files


async def counted(files: DataFiles) -> int:
    return await scan.count(ScanSnapshot.of(files), compile_filter(WHICH))


async def test_a_count_reads_the_footer_and_the_columns_it_asks_for(built: Built) -> None:
    store, files = await placed(built)
    found = await counted(files)
    assert store.whole == 0
    assert store.ranged < len(built.data) / 4
    whole_store, whole_files = await placed(built)
    whole_files.add(DataFile.from_wire({**built.file.to_wire(), "tail": None}))
    assert await counted(whole_files) == found > 0
    assert whole_store.whole == len(built.data)


async def test_whole_documents_come_out_the_same(built: Built) -> None:
    store, files = await placed(built)
    await counted(files)
    documents = await scan.find(ScanSnapshot.of(files), compile_filter(WHICH), limit=3)
    assert [one["color"] for one in documents] == ["red"] * 3
    assert all(len(one["text"]) == 1800 for one in documents)
    assert store.whole == len(built.data)


def flip(at: int) -> Callable[[bytearray], object]:
    return lambda data: data.__setitem__(at, data[at] ^ 1)


async def test_a_damaged_footer_is_noticed_wherever_it_is_damaged(built: Built) -> None:
    tail = built.file.tail
    assert tail is not None
    for back in (1, 6, 12, tail.bytes // 2, tail.bytes):
        _, files = await placed(built, flip(len(built.data) - back))
        with pytest.raises(CorruptionError, match=r"data/1-a\.parquet"):
            await counted(files)


async def test_a_damaged_page_is_noticed_when_a_query_reads_it(built: Built) -> None:
    _, whole = await placed(built)
    footer = await whole.cache.footer(built.file)
    start, stop = footer.spans([(0, ["n"])])[0]
    for at in (stop - 1, (start + stop) // 2):
        _, files = await placed(built, flip(at))
        with pytest.raises(CorruptionError, match=r"data/1-a\.parquet"):
            await counted(files)


@pytest.mark.parametrize("kept", [100, -1])
async def test_a_file_cut_short_is_noticed(built: Built, kept: int) -> None:
    _, files = await placed(built, lambda data: data.__delitem__(slice(kept, None)))
    with pytest.raises(CorruptionError, match=r"data/1-a\.parquet"):
        await counted(files)


def test_parts_are_read_only_where_they_were_fetched(built: Built) -> None:
    parts = Parts(10, [(2, b"cd"), (6, b"gh")])
    assert parts.seek(2) == 2
    assert (parts.read(1), parts.read(1), parts.tell()) == (b"c", b"d", 4)
    with pytest.raises(OSError, match="bytes 4 to 5 were not read"):
        parts.read(1)
    parts.seek(-4, 2)
    assert parts.read(2) == b"gh"
    assert tail_of(built.data).bytes < len(built.data)
    assert worth_it([(0, 250_000)], 1 << 20)
    assert not worth_it([(0, 300_000)], 1 << 20)
    assert not worth_it([(0, 1)], (1 << 20) - 1)
