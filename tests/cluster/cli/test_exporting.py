"""`parquedb export`: documents into files and onto standard output."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from parquedb.cluster.cli.exporting import ExportCommand
from tests.cluster.cli.conftest import Run


def test_a_file_appears_and_it_says_what_is_in_it(run: Run, gateway: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    ended = run("export", gateway, "orders", str(path))
    assert (ended.code, ended.err) == (0, "")
    assert "orders.parquet: 1,500 documents as of seq 1,500 (" in ended.out
    assert pq.read_table(path).num_rows == 1500


def test_standard_output_gets_the_documents_and_nothing_else(gateway: str) -> None:
    stream = io.BytesIO()
    command = ExportCommand(gateway, "orders", "-", filter='{"total": {"$lt": 1}}', sort="-total", stream=stream)
    assert command.run()
    lines = stream.getvalue().decode().splitlines()
    assert [json.loads(line)["total"] for line in lines] == [0.75, 0.5, 0.25, 0]


def test_csv_has_the_fields_that_were_asked_for(run: Run, gateway: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.txt"
    options = ["--format", "csv", "--fields", "city,total", "--sort", "total", "--json"]
    told = json.loads(run("export", gateway, "orders", str(path), *options).out)
    assert (told["path"], told["rows"], told["seq"]) == (str(path), 1500, 1500)
    assert path.read_text().splitlines()[:2] == ["$id,city,total,version", "orders/o0000,Bern,0.0,1"]


def test_a_file_that_is_there_stays_unless_it_shall_be_replaced(run: Run, gateway: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.ndjson"
    path.write_text("precious")
    ended = run("export", gateway, "orders", str(path))
    assert ended.code == 2
    assert ended.err == f"parquedb: ALREADY_EXISTS: the file {str(path)!r} exists; --overwrite replaces it\n"
    assert path.read_text() == "precious"
    assert run("export", gateway, "orders", str(path), "--overwrite").code == 0
    assert len(path.read_text().splitlines()) == 1500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rows.txt"], "its name tells no format"),
        (["-", "--json"], "--json says what was written to a file"),
        (["-", "--filter", "{"], "FILTER is not JSON"),
        (["no-such-folder/x.csv"], "there is no folder"),
    ],
)
def test_what_cannot_be_exported_is_refused(run: Run, gateway: str, words: list[str], said: str) -> None:
    ended = run("export", gateway, "orders", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
