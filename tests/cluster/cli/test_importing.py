"""`parquedb import`: files into documents, rows that are refused, and what is refused as a whole."""

import gzip
import json
import os
import re
import signal
import threading
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import ipc
from rich.console import Console

import parquedb
from parquedb.cluster.cli.importing import ImportCommand
from tests.cluster.cli.conftest import Run

PEOPLE = "no,name,age\n1,Ada,36\n2,Bob,41\n3,Cy,7\n"
TAKEN = "no,name,age\n1,Ada,36\n4,Dan,41\n2,Bob,41\n"


@pytest.fixture
def people(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "taken.csv").write_text(TAKEN)
    return tmp_path


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """One for each test: they share the gateway."""
    return f"n{abs(hash(request.node.name)):x}"


def test_rows_become_documents_and_it_says_how_many(run: Run, gateway: str, people: Path, namespace: str) -> None:
    ended = run("import", gateway, namespace, str(people / "people.csv"), "--id", "no")
    assert (ended.code, ended.err) == (0, "")
    assert "people.csv: 3 documents stored (37 B in " in ended.out
    with parquedb.connect(gateway) as database:
        assert [one["age"] for one in database[namespace].find(sort="name")] == [36, 41, 7]


def test_refused_rows_are_told_with_their_lines_and_the_others_are_stored(
    run: Run, gateway: str, people: Path, namespace: str
) -> None:
    assert run("import", gateway, namespace, str(people / "people.csv"), "--id", "no").code == 0
    ended = run("import", gateway, namespace, str(people / "taken.csv"), "--id", "no")
    assert ended.code == 1
    assert "1 document stored, 2 rows refused" in ended.out
    lines = ended.err.splitlines()
    assert [line.split("taken.csv, ")[1].split(":")[0] for line in lines] == ["line 2", "line 4"]
    assert all("already exists" in line for line in lines)
    again = ["import", gateway, namespace, str(people / "taken.csv"), "--id", "no", "--json"]
    refused = run(*again, "--refused-max", "2")
    assert refused.code == 1, "three are refused now"
    assert json.loads(refused.out)["files"][0]["errors"][0]["line"] == 2
    assert run(*again, "--refused-max", "3").code == 0


def test_stop_ends_at_the_first_row_that_is_refused_and_says_what_is_stored(
    run: Run, gateway: str, people: Path, namespace: str
) -> None:
    bad = people / "bad.ndjson"
    bad.write_text('{"$id": "a"}\nnonsense\n{"$id": "b"}\n')
    ended = run("import", gateway, namespace, str(people / "people.csv"), str(bad), "--on-error", "stop")
    assert ended.code == 2
    assert "people.csv: 3 documents stored" in ended.out, "the file before it is in"
    assert ended.err.startswith("parquedb: INVALID_INPUT: bad.ndjson: line 2: not extended JSON")


def test_a_request_id_stores_nothing_twice(run: Run, gateway: str, people: Path, namespace: str) -> None:
    words = ["import", gateway, namespace, str(people / "people.csv"), str(people / "people.csv"), "--request-id", "r1"]
    assert run(*words).code == 0
    assert run(*words).code == 0
    assert run("query", gateway, namespace, "--count").out == "6\n"


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_arrow_files_are_taken_in_both_of_their_forms(
    run: Run, gateway: str, tmp_path: Path, namespace: str, stream: bool
) -> None:
    table = pa.table({"no": ["x", "y"], "n": [1, 2], "tags": [["a"], []]})
    path = tmp_path / "rows.arrow"
    with pa.OSFile(str(path), "wb") as sink, (ipc.new_stream if stream else ipc.new_file)(sink, table.schema) as writer:
        writer.write(table)
    assert run("import", gateway, namespace, str(path), "--id", "no").code == 0
    found = run("query", gateway, namespace, "--json", "--fields", "n,tags").lines
    assert [(json.loads(line)["n"], json.loads(line)["tags"]) for line in found] == [(1, ["a"]), (2, [])]


def test_csv_of_another_make_is_read_with_options(run: Run, gateway: str, tmp_path: Path, namespace: str) -> None:
    path = tmp_path / "kunden.csv"
    path.write_bytes("nr;ort;plz;umsatz\n1;Zürich;08001;1.5\n2;Genève;-;2\n".encode("latin-1"))
    options = ["--delimiter", ";", "--encoding", "latin-1", "--null", "-", "--type", "umsatz=decimal", "--id", "nr"]
    assert run("import", gateway, namespace, str(path), *options).code == 0
    first, second = [json.loads(line) for line in run("query", gateway, namespace, "--json").lines]
    assert (first["ort"], first["plz"], first["umsatz"]) == ("Zürich", "08001", {"$numberDecimal": "1.5"})
    assert second.get("plz") is None


@pytest.mark.parametrize(
    ("name", "content", "words", "said"),
    [
        ("absent.csv", None, [], "there is no file"),
        ("", None, [], "expected a file, got the directory"),
        ("rows.txt", "a\n1\n", [], "its name tells no format: end it with .csv, .ndjson or .parquet, or give --format"),
        ("a.csv", "a;b\n1;2\n", [], "a comma leaves its header in one piece: give --delimiter ';', or ',' where it"),
        ("a.csv", "", [], "a.csv': not a readable csv file: Empty CSV file"),
        ("a.csv", "a\tb\n1\t2\n", [], r"give --delimiter '\t'"),
        ("a.csv", "a\n1\n", ["--type", "zip"], "expected FIELD=TYPE, such as zip=string; got 'zip'"),
        ("a.csv", "a\n1\n", ["--type", "a=number"], "types among string, int"),
        ("a.arrow", "nothing of the kind", [], "cannot be read as Arrow IPC"),
        ("a.ndjson", "{}\n", ["--delimiter", ";"], "it is about CSV"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_what_was_expected(  # noqa: PLR0913, PLR0917 - fixtures
    run: Run, gateway: str, tmp_path: Path, name: str, content: str | None, words: list[str], said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    ended = run("import", gateway, "refused", str(tmp_path / name), *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_a_file_of_one_column_is_stored_as_it_is_or_with_the_comma_that_is_asked_for_in_doubt(
    run: Run, gateway: str, tmp_path: Path, namespace: str
) -> None:
    (tmp_path / "plain.csv").write_text("city\nBern; Switzerland\n")
    (tmp_path / "doubtful.csv").write_text("city;country\nBern;Switzerland\n")
    assert run("import", gateway, namespace, str(tmp_path / "plain.csv")).code == 0
    doubtful = ["import", gateway, namespace, str(tmp_path / "doubtful.csv")]
    refused = run(*doubtful)
    assert refused.code == 2
    assert "or ',' where it really is one column" in refused.err
    assert run(*doubtful, "--delimiter", ",").code == 0
    rows = [json.loads(line) for line in run("query", gateway, namespace, "--json").lines]
    assert [row.get("city") or row["city;country"] for row in rows] == ["Bern; Switzerland", "Bern;Switzerland"]


def test_headers_of_all_files_are_looked_at_before_anything_is_stored(
    run: Run, gateway: str, tmp_path: Path, namespace: str
) -> None:
    (tmp_path / "good.csv").write_text("a\n1\n")
    with gzip.open(tmp_path / "bad.csv.gz", "wt") as file:
        file.write("a;b\n1;2\n")
    ended = run("import", gateway, namespace, str(tmp_path / "good.csv"), str(tmp_path / "bad.csv.gz"))
    assert (ended.code, ended.out) == (2, "")
    assert "--delimiter ';'" in ended.err
    assert run("query", gateway, namespace, "--count").out == "0\n"


def test_a_tab_may_be_typed_as_a_shell_leaves_it(run: Run, gateway: str, tmp_path: Path, namespace: str) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\n1\t2\n")
    words = ["import", gateway, namespace, str(tmp_path / "a.tsv"), "--format", "csv", "--delimiter", r"\t"]
    assert run(*words).code == 0
    assert json.loads(run("query", gateway, namespace, "--json").out)["b"] == 2


def test_on_a_terminal_a_bar_shows_how_far_it_is(gateway: str, people: Path, namespace: str) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=120)
    screen = Console(file=StringIO(), width=200)
    assert ImportCommand(gateway, namespace, [people / "people.csv"], screen=screen, notes=terminal).run()
    assert "people.csv" in terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "3 documents stored" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_says_what_is_stored_and_how_to_go_on(run: Run, gateway: str, tmp_path: Path, namespace: str) -> None:
    path = tmp_path / "many.csv"
    path.write_text("n\n" + "1\n" * 1_500_000)
    ended = threading.Event()

    def interrupt() -> None:
        with parquedb.connect(gateway) as database:
            while not ended.wait(0.02):
                if database[namespace].count():
                    os.kill(os.getpid(), signal.SIGINT)
                    return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        done = run("import", gateway, namespace, str(path))
    finally:
        ended.set()
        watcher.join()
    assert done.code == 130
    again = re.search(r"and perhaps some more are stored; the same command with (--request-id \S+) goes on", done.err)
    assert again is not None
    assert run("import", gateway, namespace, str(path), *again[1].split()).code == 0
    with parquedb.connect(gateway) as database:
        assert database[namespace].count() == 1_500_000
