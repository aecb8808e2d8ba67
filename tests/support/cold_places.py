"""Large data files with dead rows of which nothing is in memory, and a store that counts what is read of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import Built, DataFile, build, write_table
from parquedb.storage.files.data_files import DataFiles, Location
from parquedb.storage.files.partial_reads import tail_of
from tests.support.columns import document, run
from tests.support.worlds import NUMBERS, ODD_NUMBERS, OTHERS

ROWS, GROUP_ROWS = 600, 190
COLORS = [f"color {n}" for n in range(12)] + [f"color {n} {n**9:x}" for n in range(12, 45)]


class Store(MemoryBackend):
    """Counts whole objects read, and bytes of parts."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = self.ranged = 0

    async def read(self, key: str, **more: Any) -> bytes:
        self.whole += 1
        return await super().read(key, **more)

    async def read_range(self, key: str, start: int, length: int, **more: Any) -> bytes:
        self.ranged += length
        return await super().read_range(key, start, length, **more)


def body(rng: random.Random) -> dict[str, Any]:
    """Return fields that fit their columns, fields that do not, and a text that makes the file large."""
    values = [*NUMBERS, *ODD_NUMBERS, *OTHERS]
    found = {name: rng.choice(values) for name in ("a", "b", "c", "name") if rng.random() < 0.6}
    found["weather"] = rng.choice([{"temp": 1.5, "wind": 3}, {"temp": float("nan")}, {"wind": 4}, {}, None, 7])
    found["tags"] = [rng.choice(COLORS[:3]) for _ in range(rng.randrange(3))]
    if rng.random() < 0.9:
        found["color"] = rng.choice(COLORS)
    if rng.random() < 0.9:
        found["shade"] = rng.choice([*COLORS, 3, None, ["color 1x"]])
    return {**found, "text": rng.randbytes(1_800).hex()}


def regrouped(built: Built) -> tuple[DataFile, bytes]:
    """Return the file in several row groups."""
    data = write_table(pq.read_table(pa.BufferReader(built.data)), sorted_by_id=True, row_group_rows=GROUP_ROWS)
    checksum = xxhash.xxh3_64_intdigest(data)
    return replace(built.file, bytes=len(data), checksum=checksum, tail=tail_of(data)), data


class Place:
    """Two files of several row groups with dead rows."""

    def __init__(self) -> None:
        rng = random.Random(5)
        self.documents = [document(body(rng), number) for number in range(2 * ROWS)]
        self.store = Store()
        self.stored: list[tuple[DataFile, bytes]] = []
        registry = ColumnRegistry.empty()
        for number in range(2):
            rows = self.documents[number * ROWS : (number + 1) * ROWS]
            built = build(f"data/1-{number}", [(one, 1) for one in rows], registry)
            registry = built.registry
            self.stored.append(regrouped(built))
        self.dead = sorted(rng.sample(range(2 * ROWS), 60))
        self.live = [one for number, one in enumerate(self.documents) if number not in set(self.dead)]

    async def files(
        self,
        change: Callable[[int, bytearray], object] = lambda _number, _data: None,
        store: StorageBackend | None = None,
    ) -> DataFiles:
        """Return the files with nothing in memory, in a new store or the given one, after a change to their objects."""
        if store is None:
            store = self.store = Store()
        files = DataFiles(store, "posts", cache_bytes_max=1 << 30, run=run)
        for number, (file, data) in enumerate(self.stored):
            altered = bytearray(data)
            change(number, altered)
            await store.create(f"posts/{file.key}", bytes(altered))
            files.add(file)
        for row in self.dead:
            files.kill(Location(self.stored[row // ROWS][0].key, row % ROWS))
        return files
