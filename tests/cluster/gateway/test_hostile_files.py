"""Files that lie: Arrow, Parquet, CSV and JSON lines whose lengths, types or contents are not what they say."""

import io
import json
import random
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.hostile import Stage, staged

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
LINES = "application/x-ndjson"
MUTANTS = 150
SEED = 20_261_126

GOOD = pa.table(
    {
        "$id": [f"i{number}" for number in range(200)],
        "n": list(range(200)),
        "text": pa.array(["a", "b", None, "c"] * 50).dictionary_encode(),
        "list": [[1, 2], []] * 100,
        "inner": [{"x": 1.5, "y": "z"}] * 200,
    }
)


def arrow(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def deep_type(levels: int, wrap: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    made = pa.int64()
    for _ in range(levels):
        made = wrap(made)
    return made


def empty(data_type: pa.DataType) -> bytes:
    return arrow(pa.table({"a": pa.array([None], data_type)}))


def lying_nulls() -> bytes:
    """A column of nothing needs no bytes, however many rows it says to have."""
    data = arrow(pa.table({"a": pa.nulls(1_000_003)}))
    return data.replace(struct.pack("<q", 1_000_003), struct.pack("<q", 1 << 46))


def lying_buffers() -> bytes:
    """Compressed buffers begin with their size when they are unpacked."""
    table = pa.table({"a": pa.array(range(65_536), pa.int64())})
    return arrow(table, compression="zstd").replace(struct.pack("<q", 65_536 * 8), struct.pack("<q", 1 << 50))


def lying_indices() -> bytes:
    codes = pa.array([0, 1, 7_654_321], pa.int32())
    table = pa.table({"a": pa.DictionaryArray.from_arrays(codes, pa.array(["x", "y"]), safe=False)})
    return arrow(table)


def lying_offsets() -> bytes:
    offsets = pa.py_buffer(struct.pack("<4i", 0, 2_000_000_000, -5, 3))
    text = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"abc")])
    return arrow(pa.table({"a": text}))


def lying_text() -> bytes:
    offsets = pa.py_buffer(struct.pack("<2i", 0, 2))
    return arrow(pa.table({"a": pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])}))


ARROW_FILES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "noise": lambda: random.Random(1).randbytes(10_000),
    "half a file": lambda: arrow(GOOD)[: len(arrow(GOOD)) // 2],
    "no end": lambda: arrow(GOOD)[:-8],
    "metadata of 2 GiB": lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 100,
    "metadata of a negative size": lambda: b"\xff\xff\xff\xff\x00\x00\x00\x80" + b"x" * 100,
    "rows that need no bytes": lying_nulls,
    "buffers that unpack to a petabyte": lying_buffers,
    "indices beyond the dictionary": lying_indices,
    "offsets beyond the text": lying_offsets,
    "text that is no UTF-8": lying_text,
    "lists 60 deep": lambda: empty(deep_type(60, pa.list_)),
    "structs 60 deep": lambda: empty(deep_type(60, lambda inner: pa.struct([("a", inner)]))),
    "a type of ours by name": lambda: arrow(
        pa.table(
            [pa.array(["x"])],
            schema=pa.schema(
                [pa.field("a", pa.string(), metadata={"ARROW:extension:name": "arrow.py_extension_type"})]
            ),
        )
    ),
    "names that come twice": lambda: arrow(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])),
    "ids that are numbers": lambda: arrow(pa.table({"$id": [1, 2]})),
    "ids that climb": lambda: arrow(pa.table({"$id": ["../victim/one", "victim/one", ".."]})),
    "ids that are nothing": lambda: arrow(pa.table({"$id": pa.array([None, ""], pa.string())})),
    "fields of the system": lambda: arrow(pa.table({"version": ["x"], "createdAt": [1], "deletedAt": [True]})),
    "50 000 columns": lambda: arrow(pa.table({f"c{number}": [1] for number in range(50_000)})),
    "a date beyond": lambda: arrow(pa.table({"a": pa.array([2**62], pa.timestamp("s"))})),
    "a long interval": lambda: arrow(
        pa.table({"a": pa.array([(2**31 - 1, 2**31 - 1, 2**62)], pa.month_day_nano_interval())})
    ),
}

PARQUET_FILES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "only the magic": lambda: b"PAR1PAR1",
    "a footer of 4 GiB": lambda: b"PAR1" + b"x" * 100 + b"\xff\xff\xff\xffPAR1",
    "a footer that is noise": lambda: b"PAR1" + random.Random(2).randbytes(1000) + struct.pack("<i", 1000) + b"PAR1",
    "an encrypted one": lambda: b"PARE" + b"x" * 100 + struct.pack("<i", 50) + b"PARE",
    "half a file": lambda: parquet(GOOD)[: len(parquet(GOOD)) // 2],
    "a million times the same": lambda: parquet(
        pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int8()), pa.array(["x" * 1000]))})
    ),
    "a page that unpacks to much": lambda: parquet(
        pa.table({"a": ["x" * (100 << 20)]}), compression="zstd", use_dictionary=False, write_statistics=False
    ),
}

LINE_FILES = {
    "one endless line": b'{"a": "' + b"x" * (40 << 20) + b'"}',
    "blank lines": b"\n" * 1_000_000,
    "lists": b"[]\n[1]\nnull\n5\n",
    "deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"\n") * 3,
    "half": b'{"a": 1}\n{"a": ',
    "no UTF-8": b'{"a": "\xff"}\n',
    "climbing ids": b'{"$id": "../victim/one"}\n{"$id": "victim/one"}\n{"$id": ""}\n{"$id": 5}\n',
}

CSV_FILES = {
    "an open quote": b'a,b\n1,"' + b"x" * 1_000_000,
    "one endless line": b"a" * (40 << 20),
    "50 000 columns": b",".join(b"c%d" % number for number in range(50_000)) + b"\n" + b"," * 49_999 + b"\n",
    "columns that come twice": b"a,a,a\n1,2,3\n",
    "rows of another width": b"a,b\n1\n1,2,3\n,,,,,\n",
    "NUL": b"a\x00,b\n1\x00,2\n",
    "no UTF-8": b"a\n\xff\xfe\n",
    "UTF-16": "a,b\n1,2\n".encode("utf-16"),
    "formulas": b"a\n=cmd|' /C calc'!A0\n@SUM(1)\n",
    "climbing ids": b"$id,a\n../victim/one,1\nvictim/one,2\n..,3\n",
    "operators": b"$set,$where,version\n1,2,3\n",
    "nothing": b"",
}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, import_bytes_max=64 << 20) as made:
        # Files are made of what is imported here as well, two at a time.
        made.growth_bytes_max = 1 << 30
        yield made


async def imported(stage: Stage, kind: str, name: str, data: bytes) -> list[str]:
    """Import a file; return what is wrong with the answer."""
    headers = {"Content-Type": kind, "Request-Timeout": "10"}
    answer = await stage.ask("POST", "/v1/posts/import", data, headers)
    faults = stage.faults_of(answer, (kind, name))
    if answer.status == 200:
        json.loads(answer.body)
    return faults


async def test_a_good_file_of_each_kind_is_imported(stage: Stage) -> None:
    lines = b'{"$id": "j1", "a": 1}\n'
    for kind, data in ((ARROW, arrow(GOOD)), (PARQUET, parquet(GOOD)), (CSV, b"$id,n\nc1,1\n"), (LINES, lines)):
        answer = await stage.ask(
            "POST", f"/v1/{kind.rpartition('.')[2].replace('/', '-')}/import", data, {"Content-Type": kind}
        )
        assert answer.status == 200, answer.text


async def test_an_arrow_stream_that_lies_is_refused_and_harms_nobody(stage: Stage) -> None:
    faults = []
    for name, make in ARROW_FILES.items():
        faults += await imported(stage, ARROW, name, make())
    await stage.check(faults)


async def test_a_parquet_file_that_lies_is_refused_and_harms_nobody(stage: Stage) -> None:
    faults = []
    for name, make in PARQUET_FILES.items():
        faults += await imported(stage, PARQUET, name, make())
    await stage.check(faults)


async def test_lines_and_tables_of_text_that_lie_are_refused_row_by_row_or_as_a_whole(stage: Stage) -> None:
    faults = []
    for kind, files in ((LINES, LINE_FILES), (CSV, CSV_FILES)):
        for name, data in files.items():
            faults += await imported(stage, kind, name, data)
    await stage.check(faults)


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
async def test_a_file_with_some_bytes_changed_is_refused_or_imported_and_the_gateway_lives_on(
    stage: Stage, kind: str
) -> None:
    good = arrow(GOOD, compression="lz4") if kind == ARROW else parquet(GOOD)
    rng = random.Random(SEED)
    faults = []
    for _ in range(MUTANTS):
        mutant = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            mutant[rng.randrange(len(mutant))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        faults += await imported(stage, kind, f"mutant {mutant[:40]!r}", bytes(mutant))
    await stage.check(faults)
