"""`parquedb query`: what it prints of documents, to people and to programs, and how it refuses a mistake."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parquedb.cluster.cli.query_arguments import as_of_of, fields_of, filter_of, sort_of
from parquedb.documents import extended_json
from parquedb.errors import InvalidFilterError, InvalidInputError
from tests.cluster.cli.conftest import ORDERS, Run

LOOKS = ("compact", "status", "health", "metrics", "namespaces", "verify")


def test_a_table_has_a_heading_and_a_line_for_each_document(run: Run, gateway: str) -> None:
    ended = run(
        "query", gateway, "orders", '{"city": "Bern"}', "--sort", "-total", "--limit", "2", "--fields", "city,total"
    )
    assert ended.code == 0
    heading, *rows = [line.split() for line in ended.lines]
    assert heading == ["$id", "city", "total", "version"]
    assert rows == [["orders/o1498", "Bern", "374.5", "1"], ["orders/o1496", "Bern", "374.0", "1"]]
    assert ended.err == "2 documents, and there are more: --limit 0 shows all\n"


def test_json_is_a_line_of_extended_json_for_each_document(run: Run, gateway: str) -> None:
    ended = run("query", gateway, "orders", '{"$id": "orders/o0005"}', "--json")
    assert (ended.code, ended.err) == (0, "")
    [line] = ended.lines
    assert json.loads(line)["placed"] == {"$date": "2026-03-01T05:00:00.000000Z"}
    assert extended_json.loads_document(line)["placed"] == datetime(2026, 3, 1, 5, tzinfo=UTC)


def test_a_document_that_is_an_id_alone_is_no_tag(run: Run, gateway: str) -> None:
    ended = run("query", gateway, "orders", "--json", "--limit", "1", "--fields", '{"$id": 1}')
    assert ended.out == '{"$id":"orders/o0000"}\n'


@pytest.mark.parametrize(
    ("limit", "shown", "note"),
    [
        ("0", 1500, ""),
        ("1500", 1500, ""),
        ("1499", 1499, "1,499 documents, and there are more: --limit 0 shows all\n"),
        ("1000", 1000, "1,000 documents, and there are more: --limit 0 shows all\n"),
        ("1", 1, "1 document, and there are more: --limit 0 shows all\n"),
    ],
)
def test_pages_are_followed_up_to_the_limit_and_whoever_reads_is_told_of_more(
    run: Run, gateway: str, limit: str, shown: int, note: str
) -> None:
    ended = run("query", gateway, "orders", "--json", "--limit", limit, "--fields", "total")
    assert [json.loads(line)["$id"] for line in ended.lines] == [f"orders/{one['$id']}" for one in ORDERS[:shown]]
    assert ended.err == note


def test_a_total_is_told_beside_the_documents(run: Run, gateway: str) -> None:
    ended = run("query", gateway, "orders", '{"paid": true}', "--total", "--limit", "3", "--skip", "1", "--json")
    assert [json.loads(line)["$id"] for line in ended.lines] == ["orders/o0002", "orders/o0004", "orders/o0006"]
    assert ended.err == "3 documents of 750\n"


def test_a_count_is_a_number_alone(run: Run, gateway: str) -> None:
    assert run("query", gateway, "orders", '{"customer": "Ada"}', "--count").out == "500\n"
    assert json.loads(run("query", gateway, "orders", "--count", "--json").out) == {"count": 1500}


def test_no_document_is_an_answer_and_exits_with_1(run: Run, gateway: str) -> None:
    ended = run("query", gateway, "orders", '{"customer": "Nobody"}')
    assert (ended.code, ended.out, ended.err) == (1, "", "no document matches\n")
    assert run("query", gateway, "orders", '{"customer": "Nobody"}', "--count").code == 1


def test_a_past_state_is_asked_for_by_seq(run: Run, gateway: str) -> None:
    assert run("query", gateway, "orders", "--as-of", "1500", "--count").out == "1500\n"
    refused = run("query", gateway, "orders", "--as-of", "soon")
    assert refused.code == 2
    assert "--as-of: expected an age such as 30s" in refused.err


def test_explain_says_what_was_looked_at(run: Run, gateway: str) -> None:
    words = ["query", gateway, "orders", '{"total": {"$gt": 370}}', "--explain"]
    ended = run(*words)
    assert ended.code == 0
    assert "condition   total $gt" in ended.out
    assert "result      " in ended.out
    assert json.loads(run(*words, "--json").out)["returned"] == 19


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (['{"city": "Bern" "x"}'], "INVALID_INPUT", "FILTER is not JSON: unexpected character"),
        (["city=Bern"], "INVALID_INPUT", '\n  city=Bern\n  ^\nexpected an object, such as \'{"city"'),
        (["[1]"], "INVALID_INPUT", "FILTER: expected a JSON object, such as"),
        (['{"total": {"$gtt": 1}}'], "INVALID_FILTER", "$gtt is no filter operator (at 'total'); supported are $eq"),
        (['{"total": {"$in": 1}}'], "INVALID_FILTER", "$in at 'total' expects a list, not int"),
        (['{"at": {"$date": "soon"}}'], "INVALID_INPUT", "FILTER: not extended JSON"),
        (["--fields", "{body"], "INVALID_INPUT", "--fields is not JSON"),
        (["--sort", "a..b"], "INVALID_SORT", "a..b"),
    ],
)
def test_a_mistake_is_shown_with_what_was_expected_before_anything_is_opened(
    run: Run, tmp_path: Path, words: list[str], code: str, said: str
) -> None:
    # Nothing listens there: whoever asked would say so instead.
    ended = run("query", "http://127.0.0.1:9", "orders", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"parquedb: {code}: ")
    assert said in ended.err


def test_the_mark_stands_below_the_sign_at_fault() -> None:
    with pytest.raises(InvalidInputError) as refused:
        filter_of('{"a": "' + "x" * 100 + '", "b" 1, "c": "' + "y" * 100 + '"}')
    _, shown, mark, _ = refused.value.message.splitlines()
    assert shown[mark.index("^")] == "1"
    assert max(len(shown), len(mark)) < 70


def test_options_that_make_no_sense_beside_a_count_are_refused(run: Run, gateway: str) -> None:
    ended = run("query", gateway, "orders", "--count", "--sort", "total")
    assert ended.code == 2
    assert "--count is a number" in ended.err


def test_a_namespace_that_is_not_stored_is_refused_and_its_neighbour_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "note").write_text("something is stored")
    ended = run("query", str(tmp_path), "ordres")
    assert ended.code == 2
    assert "no namespace 'ordres' is stored" in ended.err
    assert "did you mean 'orders'?" in ended.err
    assert "there are 'orders'" in run("export", str(tmp_path), "unlike", "-").err
    assert not (tmp_path / "~probe").exists(), "a look must make nothing"


def test_a_directory_that_is_not_there_is_refused_and_not_made(run: Run, tmp_path: Path) -> None:
    for words in (*(["query", "x"], ["export", "x", "-"]), *([name] for name in LOOKS)):
        ended = run(words[0], str(tmp_path / "typo"), *words[1:])
        assert ended.code == 2, words
        assert "cannot be used" in ended.err
    assert not (tmp_path / "typo").exists()


def test_what_people_type_becomes_arguments() -> None:
    assert filter_of(None) is None
    assert filter_of('{"age": {"$gte": 18}}') == {"age": {"$gte": 18}}
    assert sort_of("city, -total") == ["city", "-total"]
    assert fields_of("a,b.c") == ["a", "b.c"]
    assert fields_of(' {"body": 0}') == {"body": 0}
    assert as_of_of("17") == 17
    assert as_of_of("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    assert as_of_of(None) is None
    with pytest.raises(InvalidFilterError):
        filter_of('{"$nope": 1}')
