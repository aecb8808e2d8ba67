"""Backups between stores of every kind, with settings and credentials of their own, by the library's own functions."""

import asyncio
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import parquedb
from parquedb.cluster.backup.backups import backup_database, restore_database
from parquedb.cluster.backup.places import archive_settings
from parquedb.errors import ConfigurationError, CorruptionError, InvalidInputError
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.open import open_backend
from tests.support.backups import contents
from tests.support.engines import NAMESPACE
from tests.support.places import on_disk, on_s3, settings_of
from tests.support.s3_servers import S3Server
from tests.support.vault import furnish, verified

KINDS = [("disk", "disk"), ("disk", "s3"), ("s3", "disk"), ("s3", "s3")]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("PARQUEDB_") and name != "PARQUEDB_VERIFY":
            monkeypatch.delenv(name)
    return


async def backup(settings: Settings, target: str, *namespaces: str, **options: Any) -> Any:
    return await backup_database(settings, HookRegistry(), target, namespaces, **options)


async def restore(settings: Settings, source: str, *namespaces: str, **options: Any) -> Any:
    return await restore_database(settings, HookRegistry(), source, namespaces, **options)


async def used(settings: Settings, work: Any) -> Any:
    store: StorageBackend = open_backend(settings)
    try:
        return await work(store)
    finally:
        await store.close()


@pytest.mark.parametrize(("database", "archive"), KINDS, ids=lambda kind: kind)
async def test_a_database_goes_to_and_comes_from_every_kind_of_store(
    database: str, archive: str, tmp_path: Path, unique_prefix: str, request: pytest.FixtureRequest
) -> None:
    def place(kind: str, name: str) -> dict[str, Any]:
        if kind == "disk":
            return on_disk(tmp_path / name)
        server: S3Server = request.getfixturevalue("weed")
        return on_s3(server, f"{unique_prefix}-{name}")

    original, copies, made = place(database, "original"), place(archive, "copies"), place(database, "made")
    if archive == "s3":
        group = {name: copies[name] for name in ("endpoint_url", "key", "secret")}
        original, made = {**original, "backup": group}, {**made, "backup": group}
    await used(settings_of(original), furnish)
    report = await backup(settings_of(original), copies["url"])
    assert report.objects_copied == report.point.objects > 10
    again = await backup(settings_of(original), copies["url"])
    assert again.objects_copied == 0
    restored = await restore(settings_of(made), copies["url"])
    assert restored.namespaces == report.point.namespaces
    assert (await used(settings_of(made), verified)).ok
    there = await used(settings_of(made), contents)
    before = await used(settings_of(original), contents)
    assert {key: data for key, data in before.items() if key in there} == there


async def test_a_file_of_any_size_passes_through_bounded_memory(
    tmp_path: Path, unique_prefix: str, weed: S3Server
) -> None:
    place = on_disk(tmp_path)
    await used(settings_of(place), furnish)
    # A data file of the past grows: nobody reads it here, so any bytes will do once the manifest agrees.
    import xxhash  # noqa: PLC0415 - as above

    from tests.support.vault import Vault  # noqa: PLC0415 - a tool for bytes

    vault = Vault(tmp_path / "db")
    file = vault.files[0]
    data = vault.read(file.key) + os.urandom(64 << 20)
    vault.put(file.key, data)
    files = [
        {**wire, "bytes": len(data), "checksum": xxhash.xxh3_64_intdigest(data)} if wire["key"] == file.key else wire
        for wire in vault.manifest.files
    ]
    vault.forge_manifest(files=tuple(files))
    size = len(data)
    del data
    group = {"endpoint_url": weed.endpoint_url, "key": weed.key, "secret": weed.secret, "parallel": 1}
    for name, target in (("disk", str(tmp_path / "copies")), ("s3", f"s3://{weed.bucket}/{unique_prefix}")):
        tracemalloc.start()
        await backup(settings_of({**place, "backup": group}), target)
        await restore(settings_of({**on_disk(tmp_path / name), "backup": group}), target)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < size / 2, f"{peak >> 20} MiB for a file of {size >> 20} MiB"
        assert Vault(tmp_path / name / "db").path(file.key).stat().st_size == size


@pytest.mark.parametrize(("database", "archive"), [("{0}/db", "{0}/db/copies"), ("{0}/db/x", "{0}/db"), ("{0}", "{0}")])
async def test_a_database_and_its_backup_do_not_lie_in_each_other(database: str, archive: str, tmp_path: Path) -> None:
    settings = load_settings(database.format(tmp_path))
    with pytest.raises(ConfigurationError, match="must not lie in each other"):
        await backup(settings, archive.format(tmp_path))
    with pytest.raises(ConfigurationError, match="must not lie in each other"):
        await restore(settings, archive.format(tmp_path))
    assert list(tmp_path.iterdir()) == []


async def test_one_server_is_one_however_its_address_is_spelled() -> None:
    group = {"endpoint_url": "http://LOCALHOST:9/"}
    database = load_settings("s3://bucket/db", endpoint_url="http://localhost:9", key="k", secret="s", backup=group)
    with pytest.raises(ConfigurationError, match="must not lie in each other"):
        await backup(database, "s3://bucket/db/copies")


@pytest.mark.parametrize("url", ["https://db.example.com", "memory://x"])
async def test_only_what_is_stored_can_be_backed_up(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has to be a directory or s3"):
        await backup(load_settings(url), str(tmp_path / "copies"))
    with pytest.raises(ConfigurationError, match="has to be a directory or s3"):
        await backup(load_settings(str(tmp_path / "db")), url)


def test_the_store_of_backups_has_credentials_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUEDB_KEY", "one")
    monkeypatch.setenv("PARQUEDB_SECRET", "hush-one")
    monkeypatch.setenv("PARQUEDB_ENDPOINT_URL", "http://one:1")
    same = archive_settings(load_settings("s3://a/db"), "s3://b/copies")
    assert (same.key, same.reveal_secret(), same.endpoint_url) == ("one", "hush-one", "http://one:1")
    monkeypatch.setenv("PARQUEDB_BACKUP__KEY", "two")
    with pytest.raises(ConfigurationError, match=r"backup\.secret is missing"):
        archive_settings(load_settings("s3://a/db"), "s3://b/copies")
    monkeypatch.setenv("PARQUEDB_BACKUP__SECRET", "hush-two")
    monkeypatch.setenv("PARQUEDB_BACKUP__ENDPOINT_URL", "http://two:2")
    settings = load_settings("s3://a/db")
    other = archive_settings(settings, "s3://b/copies/")
    assert (other.key, other.reveal_secret(), other.endpoint_url) == ("two", "hush-two", "http://two:2")
    assert other.url == "s3://b/copies"
    assert "hush" not in repr(settings) + str(pickle.dumps(settings))


async def test_what_takes_too_long_ends_and_makes_no_point(tmp_path: Path) -> None:
    settings = settings_of(on_disk(tmp_path))
    await used(settings, furnish)
    with pytest.raises(NoAnswerError, match="the backup did not end within"):
        await backup(settings, str(tmp_path / "copies"), timeout_s=0.001)
    assert parquedb.backup_points(tmp_path / "copies") == []
    with pytest.raises(InvalidInputError, match="keep"):
        await backup(settings, str(tmp_path / "copies"), keep=0)


def test_the_front_door_lists_verifies_and_restores(tmp_path: Path) -> None:
    settings = settings_of(on_disk(tmp_path))
    asyncio.run(used(settings, furnish))
    told: list[Any] = []
    report = asyncio.run(backup(settings, str(tmp_path / "copies"), keep=2))
    [point] = parquedb.backup_points(tmp_path / "copies")
    assert point == report.point
    assert parquedb.verify_backup(tmp_path / "copies", progress=told.append).ok
    restored = parquedb.restore(tmp_path / "copies", tmp_path / "new", NAMESPACE, point=point.point[:15])
    assert restored.namespaces == {NAMESPACE: 51}
    assert told[-1].objects_done == point.objects
    assert restored.to_json()["url"] == str(tmp_path / "new")


def test_behind_a_gateway_it_is_said_what_to_run_instead(tmp_path: Path) -> None:
    with (
        parquedb.connect("http://127.0.0.1:9") as db,
        pytest.raises(ConfigurationError, match="parquedb backup <url of the storage>"),
    ):
        db.backup(tmp_path / "copies")


async def test_a_backup_that_cannot_remove_old_points_says_that_it_is_good_all_the_same(tmp_path: Path) -> None:
    place = on_disk(tmp_path)
    await used(settings_of(place), furnish)
    settings, copies = settings_of(place), tmp_path / "copies"
    await backup(settings, str(copies))
    [catalogue] = (copies / "parquedb_backup=1/points").iterdir()
    catalogue.write_bytes(b"{}")
    with pytest.raises(CorruptionError, match=r"the backup is good, as point .* old points stay: .*corrupt") as failed:
        await backup(settings, str(copies), keep=1)
    assert failed.value.key == f"parquedb_backup=1/points/{catalogue.name}"
    assert (await restore(load_settings(str(tmp_path / "new")), str(copies))).point == failed.value.context["point"]
