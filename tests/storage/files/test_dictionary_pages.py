"""What a dictionary tells of a column chunk, for every way in which PyArrow writes one."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.storage.files.dictionary_pages import entries_of, lacks

WORDS = ["", "a", "b", "é", "long " * 40, *(f"{n * 7919:x}" for n in range(10, 90))]


def chunk(values, **options):
    sink = pa.BufferOutputStream()
    table = pa.table({"before": range(len(values)), "text": pa.array(values, pa.string())})
    pq.write_table(table, sink, **{"write_page_checksum": True, **options})
    data = sink.getvalue().to_pybytes()
    return data, pq.read_metadata(pa.BufferReader(data)).row_group(0).column(1)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip", "none"])
@pytest.mark.parametrize("nulls", [[], [None]])
def test_a_dictionary_says_which_texts_are_in_no_row(version, codec, nulls):
    data, column = chunk([*WORDS, *nulls] * 40, compression=codec, data_page_version=version, data_page_size=200)
    entries = entries_of(data, column)
    assert entries is not None
    assert [lacks(entries, frozenset([word])) for word in WORDS] == [False] * len(WORDS)
    assert lacks(entries, frozenset(["c", "aa", "long", "è"]))
    assert not lacks(entries, frozenset(["c", "a"]))
    assert lacks(entries, frozenset())


def test_without_a_dictionary_of_all_rows_nothing_is_said():
    unique = [f"text {n}" for n in range(5_000)]
    plain, column = chunk(unique, use_dictionary=False)
    assert entries_of(plain, column) is None
    given_up, column = chunk(unique, dictionary_pagesize_limit=1_000)
    assert column.has_dictionary_page
    assert entries_of(given_up, column) is None


def test_without_a_checksum_or_with_a_wrong_one_nothing_is_said():
    data, column = chunk(WORDS * 20, write_page_checksum=False)
    assert entries_of(data, column) is None
    data, column = chunk(WORDS * 20, compression="none")
    at = data.index(b"long long")
    assert entries_of(data[:at] + b"L" + data[at + 1 :], column) is None


def test_damaged_headers_are_errors_whatever_the_damage():
    data, column = chunk(WORDS * 20)
    start = column.dictionary_page_offset
    for at in range(start, start + 30):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            try:
                entries_of(bytes(damaged), column)
            except (ValueError, pa.ArrowException) as error:
                assert str(error)  # noqa: PT017 - any of the two will do, and neither is needed


def test_a_short_dictionary_is_not_asked():
    data, column = chunk(["red", "blue"] * 1_000)
    assert column.has_dictionary_page
    assert entries_of(data, column) is None
