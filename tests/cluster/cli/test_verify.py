"""`parquedb verify`: what it prints and how it ends. It starts no Ray and changes nothing."""

import asyncio
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import ray
from rich.console import Console

from parquedb.cluster.cli.main import main
from parquedb.cluster.cli.verify import Verification
from parquedb.cluster.cli.wording import size
from parquedb.settings.environment import load_settings
from parquedb.storage.log.entry import entry_key
from tests.support.vault import Vault, directory, furnish


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    async def make() -> None:
        async with directory(tmp_path / "db") as store:
            await furnish(store)

    asyncio.run(make())
    return Vault(tmp_path / "db")


def test_a_clean_database_exits_with_0_and_stays_as_it_is(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    before, ray_was_there = vault.digest(), ray.is_initialized()
    assert main(["verify", str(vault.folder)]) == 0
    told = capsys.readouterr()
    assert "posts: 40 documents, 4 data files" in told.out
    assert "nothing is broken" in told.out
    assert told.err == ""
    assert vault.digest() == before
    assert ray.is_initialized() == ray_was_there


def test_damage_exits_with_1_and_names_code_object_and_what_to_do(
    vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = vault.flip(vault.files[0].key, 100)
    assert main(["verify", str(vault.folder), "posts"]) == 1
    told = capsys.readouterr().out
    assert f"error DATA_FILE_CHECKSUM posts/{damaged}" in told
    assert "Bring the object back" in told
    assert ": 1 error\n" in told


def test_a_quick_look_reads_little_and_says_so(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    vault.flip(vault.files[0].key, 100)
    assert main(["verify", str(vault.folder), "--quick"]) == 0
    assert "quick" in capsys.readouterr().out


def test_a_reader_who_has_seen_enough_is_no_error(vault: Vault) -> None:
    command = [sys.executable, "-m", "parquedb.cluster.cli", "verify", str(vault.folder), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 2


def test_json_is_the_whole_report(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    missing = vault.drop(entry_key(vault.tail - 1))
    assert main(["verify", str(vault.folder), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    [posts] = report["namespaces"]
    assert (posts["namespace"], posts["level"], posts["seq"]) == ("posts", "full", 51)
    first = posts["findings"][0]
    assert (first["code"], first["severity"], first["key"]) == ("LOG_ENTRY_MISSING", "error", f"posts/{missing}")
    assert first["advice"]


@pytest.mark.parametrize("arguments", [["no-such-directory"], [".", "no-such-namespace"], ["."], [".", "a/b"]])
def test_what_cannot_be_looked_at_exits_with_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *arguments]) == 2
    assert capsys.readouterr().err.startswith("parquedb: ")
    assert list(tmp_path.iterdir()) == [], "a look must make nothing"


def test_on_a_terminal_a_bar_shows_how_far_it_is(vault: Vault) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=120)
    shown = Console(file=StringIO(), width=120)
    made = Verification(load_settings(str(vault.folder)), screen=shown, notices=terminal)
    assert made.run()
    assert "posts" in terminal.file.getvalue()  # type: ignore[attr-defined]  # A StringIO.


def test_many_findings_of_one_kind_are_counted(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        vault.put(f"data/readme{number}", b"")
    assert main(["verify", str(vault.folder)]) == 0
    told = capsys.readouterr().out
    assert told.count("warning OBJECT_UNKNOWN") == 20
    assert "and 10 more of OBJECT_UNKNOWN" in told


def test_sizes_are_worded_with_the_unit_a_reader_would_choose() -> None:
    assert [size(count) for count in (0, 999, 1000, 12_345_678, 10**16)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "12.3 MB",
        "10000.0 TB",
    ]
