"""A namespace's documents in files, dead rows and memory, drawn at random; and the truth about them."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from hypothesis import strategies as st
from pyroaring import BitMap

from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import build, write_table
from parquedb.storage.files.data_files import DataFiles, Location
from parquedb.storage.query.scan_plan import ScanSnapshot
from tests.support.columns import document, run

NUMBERS = [0, 1, 2, 3, 2.5, -0.0, 1.0, Decimal("2.5"), Decimal("1"), Decimal("0.1"), 2**63, -(2**63) - 1, 2**53 + 1]
ODD_NUMBERS = [math.inf, -math.inf, math.nan, Decimal("1E+400"), Decimal("1E+999999"), 10**400, 1e308, 5e-324]
OTHERS = [None, True, False, "a", "b", "", "zz", "é", "x" * 100, b"", b"a", date(2026, 1, 1), UUID(int=1)]
OTHERS += [
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    [],
    [1],
    ["a"],
    {},
    {"b": 1},
]
PATHS = ["a", "b", "c", "a.b", "a.0", "b.a.c", "name", "version", "updatedAt", "$id", "$type", "nope", "é"]

small_bodies = st.dictionaries(
    st.sampled_from(["a", "b", "c", "name"]),
    st.one_of(
        st.sampled_from(NUMBERS + ODD_NUMBERS + OTHERS),
        st.integers(-3, 3),
        st.lists(st.sampled_from([1, 2, "a"]), max_size=2),
        st.fixed_dictionaries({}, optional={"b": st.sampled_from([1, 2.5, "a", None]), "a": st.just({"c": 1})}),
    ),
    max_size=4,
)
operands = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(ODD_NUMBERS), st.sampled_from(OTHERS))
conditions = st.one_of(
    operands,
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), operands).map(lambda pair: dict([pair])),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(operands, max_size=7)).map(lambda pair: dict([pair])),
    st.booleans().map(lambda wanted: {"$exists": wanted}),
)
ids = st.integers(0, 40).map(lambda number: f"posts/{number:05d}")
comparisons = st.one_of(
    st.tuples(st.sampled_from(PATHS), conditions).map(lambda pair: dict([pair])),
    st.tuples(st.sampled_from(PATHS), st.sampled_from(["$eq", "$gt", "$lte"]), operands).map(
        lambda three: {three[0]: {"$not": {three[1]: three[2]}}}
    ),
    st.tuples(st.sampled_from(["$gt", "$lte", "$eq"]), ids).map(lambda pair: {"$id": dict([pair])}),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda pair: dict([pair])
    ),
    max_leaves=5,
)


class World:
    """Some files with dead rows and some documents in memory; `live` is the truth."""

    def __init__(self, parts, dead, memory):
        self.store = MemoryBackend()
        self.files = DataFiles(self.store, "posts", cache_bytes_max=1 << 24, run=run)
        self.live, self.memory = [], memory
        registry = ColumnRegistry.empty()
        self.objects = {}
        for number, rows in enumerate(parts):
            built = build(f"data/1-{number}", [(one, 1) for one in rows], registry)
            registry = built.registry
            self.objects[built.file.key] = built.data
            self.files.add(built.file, built)
            for row, one in enumerate(sorted(rows, key=lambda one: one["$id"])):
                if one["$id"] in dead:
                    self.files.kill(Location(built.file.key, row))
                else:
                    self.live.append(one)
        self.live = sorted(self.live + memory, key=lambda one: one["$id"])

    def snapshot(self):
        return ScanSnapshot.of(self.files, self.memory)

    def expected(self, predicate):
        return [one for one in self.live if predicate(one)]


@st.composite
def worlds(draw, bodies=small_bodies):
    """Documents with distinct ids, dealt to up to four files (some dead) and to memory."""
    found = draw(st.lists(bodies, min_size=1, max_size=24))
    places = draw(st.lists(st.integers(0, 4), min_size=len(found), max_size=len(found)))
    documents = [document(body, number) for number, body in enumerate(found)]
    parts = [[one for one, place in zip(documents, places, strict=True) if place == file] for file in range(4)]
    memory = [one for one, place in zip(documents, places, strict=True) if place == 4]
    dead = draw(st.sets(st.sampled_from([one["$id"] for one in documents]), max_size=6))
    return World([part for part in parts if part], dead, memory)


async def regrouped_world(world, cache_bytes_max=0):
    """Return the same data files in row groups of three rows, every other one unsorted."""
    files = DataFiles(world.store, "posts", cache_bytes_max=cache_bytes_max, run=run)
    for file, unsorted in zip(world.files.files, (True, False, True, False), strict=False):
        data, changed, dead = regrouped(world, file, unsorted)
        await world.store.write(f"posts/{file.key}", data)
        files.add(changed, dead=dead)
    return files


def regrouped(world, file, unsorted):
    """Return a file as three-row groups, its rows turned round if unsorted: object, description, dead rows."""
    table = pq.read_table(pa.BufferReader(world.objects[file.key]))
    dead = world.files.live_dead.get(file.key, BitMap())
    if unsorted:
        table = table.take(list(reversed(range(file.rows))))
        dead = BitMap(file.rows - 1 - row for row in dead)
    data = write_table(table, sorted_by_id=not unsorted, row_group_rows=3)
    changed = replace(file, bytes=len(data), checksum=xxhash.xxh3_64_intdigest(data), sorted=not unsorted)
    return data, changed, dead
