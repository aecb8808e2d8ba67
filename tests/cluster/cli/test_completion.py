"""What a shell is told when somebody presses the key for completion."""

from pathlib import Path

import pytest

from parquedb.cluster.cli.main import main


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    """Returns what bash is offered behind some words."""
    for name in ("orders", "orders-2026", "users", "~probe"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "s3:" / "bucket" / "prefix" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def offered(*words: str) -> list[str]:
        monkeypatch.setenv("_PARQUEDB_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["parquedb", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            main([])
        told = capsys.readouterr()
        assert told.err == ""
        return told.out.split()

    return offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["na"], ["namespaces"]),
        (["query", "./data", "orders", "--lim"], ["--limit"]),
        (["query", "./data", "or"], ["orders", "orders-2026"]),
        (["verify", "./data", "users", "o"], ["orders", "orders-2026"]),
        (["query", "./nowhere", "or"], []),
        (["query", "s3://bucket/prefix", "or"], []),
    ],
    ids=lambda given: " ".join(given) or "nothing",
)
def test_sub_commands_options_and_the_namespaces_of_a_directory_are_offered(
    completed,  # type: ignore[no-untyped-def]
    words: list[str],
    offered: list[str],
) -> None:
    assert completed(*words) == offered


def test_the_directory_may_be_that_of_the_environment(completed, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PARQUEDB_URL", "./data")
    assert completed("query", "-", "us") == ["users"]
