"""`parquedb backup` and `parquedb restore`: what they print and how they end. They start no Ray."""

import asyncio
import json
from io import StringIO
from pathlib import Path

import pytest
import ray
from rich.console import Console

import parquedb
from parquedb.cluster.cli.backup import BackupCommand
from parquedb.cluster.cli.main import main
from parquedb.errors import CorruptionError
from tests.support.vault import Vault, directory, furnish


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    async def make() -> None:
        async with directory(tmp_path / "db") as store:
            await furnish(store)

    asyncio.run(make())
    return Vault(tmp_path / "db")


def test_a_backup_is_taken_listed_verified_and_restored(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, ray_was_there = vault.digest(), ray.is_initialized()
    copies, new = str(tmp_path / "copies"), str(tmp_path / "new")
    assert main(["backup", str(vault.folder), copies]) == 0
    told = capsys.readouterr()
    assert ": posts, 24 objects of" in told.out
    assert told.err == ""
    assert main(["backup", str(vault.folder), copies, "posts", "--keep", "1"]) == 0
    told = capsys.readouterr()
    assert "0 objects of 0 B; the rest was there" in told.out
    assert "removed: 1 point" in told.out
    assert main(["backup", "--list", copies, "--json"]) == 0
    [point] = json.loads(capsys.readouterr().out)
    assert point["namespaces"] == {"posts": 51}
    assert main(["backup", "--list", copies]) == 0
    assert point["point"] in capsys.readouterr().out
    assert main(["backup", "--verify", copies]) == 0
    assert "nothing is damaged" in capsys.readouterr().out
    assert main(["restore", copies, new, "posts", "--point", point["point"][:15]]) == 0
    assert "posts: as of seq 51" in capsys.readouterr().out
    assert main(["verify", new]) == 0
    assert vault.digest() == before
    assert ray.is_initialized() == ray_was_there


def test_damage_in_a_backup_exits_with_1_and_is_named(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = tmp_path / "copies"
    assert main(["backup", str(vault.folder), str(copies)]) == 0
    [damaged] = list(copies.rglob("objects/posts/manifest/*"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["backup", "--verify", str(copies)]) == 1
    told = capsys.readouterr().out
    assert damaged.name in told
    assert "cannot be restored: 20" in told
    assert main(["restore", str(copies), str(tmp_path / "new")]) == 2
    assert f"CORRUPTION: object 'parquedb_backup=1/objects/posts/manifest/{damaged.name}'" in capsys.readouterr().err


def test_a_point_that_cannot_be_read_hides_no_other_in_the_list(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = tmp_path / "copies"
    for _ in range(3):
        assert main(["backup", str(vault.folder), str(copies)]) == 0
    points = sorted((copies / "parquedb_backup=1/points").iterdir())
    points[1].write_bytes(points[1].read_bytes()[:-1])
    capsys.readouterr()
    assert main(["backup", "--list", str(copies)]) == 2
    told = capsys.readouterr()
    assert [name in told.out for name in (one.name for one in points)] == [True, False, True]
    assert f"CORRUPTION: object 'parquedb_backup=1/points/{points[1].name}'" in told.err
    assert main(["backup", "--list", str(copies), "--json"]) == 2
    told = capsys.readouterr()
    assert [one["point"] for one in json.loads(told.out)] == [points[0].name, points[2].name]
    assert json.loads(told.err)["code"] == "CORRUPTION"
    with pytest.raises(CorruptionError, match=points[1].name):
        parquedb.backup_points(copies)


def test_a_place_without_backups_exits_with_2_for_programs_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "--list", str(tmp_path), "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out) == []
    assert json.loads(told.err)["code"] == "SNAPSHOT_NOT_FOUND"


def test_a_dash_is_the_database_of_the_environment_and_never_a_place_of_backups(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARQUEDB_URL", str(vault.folder))
    assert main(["backup", "-", "copies"]) == 0
    monkeypatch.setenv("PARQUEDB_URL", str(tmp_path / "new"))
    assert main(["restore", "copies", "-"]) == 0
    assert main(["verify", "-"]) == 0
    capsys.readouterr()
    for words in (["backup", "-", "-"], ["restore", "-", "-"]):
        assert main(words) == 2
        assert "name the backups" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copies", "db", "new"]


@pytest.mark.parametrize("words", [["backup", "https://db", "copies"], ["restore", "copies", "https://db"]])
def test_a_gateway_is_refused_with_the_reason(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "a gateway hands out documents, not what is stored" in capsys.readouterr().err


def test_damage_in_the_database_exits_with_2_and_names_the_object(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = vault.flip(vault.files[0].key)
    assert main(["backup", str(vault.folder), str(tmp_path / "copies")]) == 2
    assert f"CORRUPTION: object 'posts/{key}'" in capsys.readouterr().err
    assert main(["backup", "--list", str(tmp_path / "copies")]) == 2
    assert "no backup is stored" in capsys.readouterr().err


def test_a_restore_over_something_exits_with_2_and_changes_nothing(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(vault.folder), str(tmp_path / "copies"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objects_copied"] == 24
    before = {path: path.read_bytes() for path in vault.folder.rglob("*") if path.is_file()}
    assert main(["restore", str(tmp_path / "copies"), str(vault.folder)]) == 2
    assert "a restore overwrites nothing" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in vault.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "words",
    [
        ["backup"],
        ["backup", "db"],
        ["backup", "db", "copies", "--list"],
        ["backup", "copies", "--list", "--verify"],
        ["backup", "copies", "--list", "--keep", "3"],
        ["backup", "db", "copies", "--point", "2026"],
        ["backup", "db", "copies", "--keep", "0"],
        ["backup", "no-such-place", "copies"],
        ["backup", "--list", "no-such-place"],
        ["restore", "no-such-place", "db"],
        ["restore", "copies"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_exits_with_2_and_makes_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARQUEDB_URL", raising=False)
    assert main(words) == 2
    assert [path.name for path in tmp_path.iterdir()] in ([], ["copies"])


def test_a_terminal_is_shown_how_far_it_is(vault: Vault, tmp_path: Path) -> None:
    notices = Console(file=StringIO(), force_terminal=True, width=100)
    screen = Console(file=StringIO())
    made = BackupCommand.of(str(vault.folder), str(tmp_path / "copies"))
    made.notices, made.screen = notices, screen
    assert made.run()
    assert "posts" in notices.file.getvalue()


def test_a_namespace_comes_back_under_another_name_beside_the_original(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = str(tmp_path / "copies")
    assert main(["backup", str(vault.folder), copies]) == 0
    assert main(["restore", copies, str(vault.folder), "posts", "--as", "posts-then"]) == 0
    assert "posts-then: as of seq 51" in capsys.readouterr().out
    assert main(["verify", str(vault.folder), "posts", "posts-then"]) == 0
    assert main(["restore", copies, str(vault.folder), "--as", "posts-then"]) == 2
    assert "a restore overwrites nothing" in capsys.readouterr().err
    assert main(["restore", copies, str(vault.folder), "--as", "../up"]) == 2
