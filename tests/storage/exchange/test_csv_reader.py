"""Reading CSV by itself: the numbers of rows, and columns that become numbers only if nothing is lost."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parquedb.errors import InvalidInputError
from parquedb.storage.exchange.csv_reader import BLOCK_BYTES, CsvOptions, CsvReader, _Numbers
from parquedb.storage.exchange.file_formats import place_of
from parquedb.storage.exchange.row_pieces import Refusals


def reader(folder: Path, text: str, **options: Any) -> tuple[CsvReader, Refusals]:
    path = folder / "rows.csv"
    path.write_text(text)
    refusals = Refusals(skip=True)
    return CsvReader(place_of(path, None), CsvOptions(**options), refusals, "$id"), refusals


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("1234567890123456.78", "string"),
        ("-3.14159265358979323846", "string"),
        ("0.00123456789012345678", "string"),
        ("1e400", "string"),
        ("-1e400", "string"),
        ("0.1", "float"),
        ("-1.2345678901234567e-300", "float"),
        ("0.000000000000000000001", "float"),
        ("5.000000000000000000", "float"),
        ("inf", "float"),
        ("nan", "float"),
    ],
)
def test_a_column_becomes_a_number_only_if_nothing_is_lost(tmp_path: Path, cell: str, kind: str) -> None:
    made, _ = reader(tmp_path, f"a\n{cell}\n2.5\n")
    assert made.kinds({}) == {"a": kind}


def test_rows_keep_their_numbers_beside_rows_that_are_left_out(tmp_path: Path) -> None:
    made, refusals = reader(tmp_path, "a,b\n1\n1,2\n1\n1\n2,3\n4,5\n6\n")
    [piece] = made.pieces({"a": "int", "b": "int"})
    assert piece.lines.tolist() == [3, 6, 7]
    assert [error.line for error in refusals.errors] == [2, 4, 5, 8]


def test_many_rows_that_are_left_out_take_time_in_proportion() -> None:
    rows = 300_000
    numbers = _Numbers(lambda _line, _reason: None, 2)
    for number in range(3, 2 * rows + 2, 2):
        numbers.invalid(SimpleNamespace(number=number, expected_columns=2, actual_columns=1))
    started_s = time.thread_time()
    assert numbers.of(rows).tolist() == list(range(2, 2 * rows + 2, 2))
    # A tenth of a second, and many seconds if each row left out moved all behind it.
    assert time.thread_time() - started_s < 2


@pytest.mark.parametrize(("text", "delimiter"), [("id;city\n1;Bern\n", ";"), ("id\tcity\n", "\t"), ("id|x\n", "|")])
def test_a_header_that_another_delimiter_would_part_is_refused_with_that_one(
    tmp_path: Path, text: str, delimiter: str
) -> None:
    with pytest.raises(InvalidInputError, match="in one piece") as refused:
        reader(tmp_path, text)
    assert refused.value.expected == f"{delimiter!r}, or ',' where it really is one column"
    assert len(reader(tmp_path, text, delimiter=delimiter)[0].names) == 2
    # Somebody means it.
    assert reader(tmp_path, text, delimiter=",")[0].names == [text.splitlines()[0]]
    assert reader(tmp_path, text, column_names=["a;b"])[0].names == ["a;b"]


def test_a_comma_in_the_quoted_name_of_the_only_column_is_no_delimiter(tmp_path: Path) -> None:
    assert reader(tmp_path, '"name, first"\nAda\n')[0].names == ["name, first"]


def test_a_header_of_one_column_is_taken(tmp_path: Path) -> None:
    assert reader(tmp_path, "city\nBern; Switzerland\n")[0].names == ["city"]


def test_the_header_is_found_without_a_thread_that_reads_on(tmp_path: Path) -> None:
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    text = "a,b\n" + "12345678,abcdefgh\n" * 3_000_000
    before = bytes_read()
    made, _ = reader(tmp_path, text)
    assert made.names == ["a", "b"]
    assert bytes_read() - before < 2 * BLOCK_BYTES, "else PyArrow may take the process down when Python ends meanwhile"
