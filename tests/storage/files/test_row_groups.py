"""Decoding row groups of a whole object or of parts of it, by readers that stay open."""

import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import NewerFormatError
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import Built, DataFile, build
from parquedb.storage.files.partial_reads import Parts
from parquedb.storage.files.row_groups import DECODE_ERRORS, Footer, decode_groups, parse_footer
from tests.support.columns import document

ROWS = 3_000
NAMES = ["color", "n", "place.x"]
COLORS = [f"color {n % 7}" for n in range(ROWS)]


@pytest.fixture(scope="module")
def built() -> Built:
    rows = [(document({"color": COLORS[n], "n": n % 9, "place": {"x": n % 5, "y": n}}, n), n) for n in range(ROWS)]
    return build("data/1", rows, ColumnRegistry.empty())


@pytest.fixture
def data(built: Built) -> bytes:
    return built.data


@pytest.fixture
def footer(built: Built) -> Footer:
    return parse_footer(built.data, built.file)


def parts(data: bytes | bytearray, footer: Footer) -> Parts:
    return Parts(len(data), [(start, memoryview(data)[start:stop]) for start, stop in footer.spans([(0, NAMES)])])


def texts(columns: dict[str, pa.Array]) -> list[str]:
    color = columns["color"]
    return (color.dictionary_decode() if pa.types.is_dictionary(color.type) else color).to_pylist()


@pytest.mark.parametrize("encoded", [frozenset(), frozenset({"color"})])
def test_parts_give_the_columns_that_the_whole_object_gives(
    data: bytes, footer: Footer, encoded: frozenset[str]
) -> None:
    [whole] = decode_groups(data, footer, [0], NAMES, encoded=encoded)
    [some] = decode_groups(parts(data, footer), footer, [0], NAMES, encoded=encoded)
    assert some == whole
    assert texts(some) == COLORS
    assert pa.types.is_dictionary(some["color"].type) == bool(encoded)
    assert some["place"].type == pa.struct({"x": pa.int64()})


def clear_once_free(held: bytearray) -> None:
    """Clear bytes, which is a BufferError while anybody holds a part of them.

    Arrow's threads let go of a task's buffers a moment after its result is there, and tell nobody.
    """
    give_up_s = time.monotonic() + 10
    while True:
        try:
            held.clear()
        except BufferError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.001)
        else:
            return


def test_a_reader_is_used_again_and_holds_nothing_of_what_it_read(data: bytes, footer: Footer) -> None:
    assert footer.idle == []
    for _ in range(2):
        before = list(footer.idle)
        mine = bytearray(data)
        columns = decode_groups(parts(mine, footer), footer, [0], NAMES, encoded={"color"})
        assert len(footer.idle) == 1
        assert before in ([], footer.idle)
        clear_once_free(mine)
        assert texts(columns[0]) == COLORS


def test_a_reader_that_met_damage_is_not_used_again(data: bytes, footer: Footer) -> None:
    decode_groups(parts(data, footer), footer, [0], NAMES, encoded={"color"})
    [reader] = footer.idle
    [(start, stop), *_] = footer.spans([(0, ["n"])])
    damaged = bytearray(data)
    damaged[(start + stop) // 2] ^= 1
    with pytest.raises(DECODE_ERRORS):
        decode_groups(parts(damaged, footer), footer, [0], NAMES, encoded={"color"})
    [columns] = decode_groups(parts(data, footer), footer, [0], NAMES, encoded={"color"})
    assert columns["n"].to_pylist() == [n % 9 for n in range(ROWS)]
    assert reader not in footer.idle


def test_threads_read_different_parts_of_one_file_at_once_and_few_readers_stay(data: bytes, footer: Footer) -> None:
    def decode(name: str) -> list[object]:
        spans = footer.spans([(0, [name])])
        mine = Parts(len(data), [(start, data[start:stop]) for start, stop in spans])
        [columns] = decode_groups(mine, footer, [0], [name], encoded=footer.dictionaries)
        return columns[name].to_pylist()

    table = pq.read_table(pa.BufferReader(data))
    names = ["color", "n", "version", "$id"] * 20
    with ThreadPoolExecutor(4) as threads:
        assert all(
            found == table.column(name).to_pylist()
            for name, found in zip(names, threads.map(decode, names), strict=True)
        )
    assert len(footer.idle) <= 2


def test_a_file_of_a_later_format_is_refused_by_name(built: Built) -> None:
    table = pq.read_table(pa.BufferReader(built.data))
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"parquedb.format": "2"}), sink)
    with pytest.raises(NewerFormatError, match="format 2 of data files, known up to 1") as caught:
        parse_footer(sink.getvalue().to_pybytes(), built.file)
    assert caught.value.key == "data/1"


def test_what_a_later_version_says_of_a_file_is_not_passed_over(built: Built) -> None:
    with pytest.raises(NewerFormatError, match="a data file with bloom"):
        DataFile.from_wire({**built.file.to_wire(), "bloom": b""})
