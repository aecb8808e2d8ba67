"""Damage in the source stops a backup and names the object; damage in an archive is found, nothing restored of it."""

from pathlib import Path

import pytest
import xxhash

from parquedb.errors import (
    CollectionNotFoundError,
    ConflictError,
    CorruptionError,
    NewerFormatError,
    SnapshotNotFoundError,
)
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backup.archive import OBJECTS, POINTS
from parquedb.storage.backup.catalogue import decode_catalogue, encode_catalogue
from parquedb.storage.log.entry import UNFINISHED, entry_key
from tests.support.backups import archive, contents, inspected, put_back, take
from tests.support.engines import NAMESPACE, opened, run
from tests.support.killed import Killed, Life
from tests.support.vault import PREFIX, Vault, directory, furnish, verified

FOLDERS = ("log", "manifest", "data", "tail", "dedupe")


@pytest.fixture
async def vault(tmp_path: Path) -> Vault:
    async with directory(tmp_path / "db") as store:
        await furnish(store)
    return Vault(tmp_path / "db")


async def referred(vault: Vault) -> list[str]:
    async with directory(vault.folder) as source:
        catalogue, _ = await take(source, MemoryBackend())
    [namespace] = catalogue.namespaces
    return [one.key for one in namespace.objects]


async def test_an_object_of_every_kind_is_in_a_backup(vault: Vault) -> None:
    keys = await referred(vault)
    assert {key.partition("/")[0] for key in keys} == set(FOLDERS)
    below = [key for key in keys if key.startswith("log/") and key > entry_key(vault.manifest.through)]
    assert {one.key for one in vault.manifest.history.segments} <= set(keys)
    assert vault.manifest.history.segments
    assert vault.manifest.dead, "deletion vectors lie in the manifest"
    assert len(below) >= 2, "open entries below the manifest"


@pytest.mark.parametrize("harm", ["drop", "flip", "cut"])
async def test_whatever_is_damaged_in_the_source_is_named_and_makes_no_point(vault: Vault, harm: str) -> None:
    for key in await referred(vault):
        if harm == "drop" and key == entry_key(vault.tail):
            continue  # Without its last entry a log is a shorter log; `verify` cannot tell either.
        whole, place = vault.read(key), MemoryBackend()
        getattr(vault, harm)(key)
        async with directory(vault.folder) as source:
            try:
                with pytest.raises(CorruptionError) as raised:
                    await take(source, place)
            finally:
                vault.put(key, whole)
        assert raised.value.key == PREFIX + key
        assert await archive(place).points() == []
        assert not await contents(place, "parquedb_backup=1/at-work/"), "whoever failed in order says that it is over"


async def test_damage_in_an_archive_is_found_and_refused(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        catalogue, _ = await take(source, place)
    for key, data in (await contents(place)).items():
        for harmed in (None, data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
            await place.delete(key)
            if harmed is not None:
                await place.create(key, harmed)
            report = await inspected(place)
            if key.startswith(POINTS) and harmed is None:
                assert report.points == (), "without its catalogue it is no point"
            else:
                assert [(fault.key, fault.points) for fault in report.faults] == [(key, (catalogue.point,))]
            target = MemoryBackend()
            with pytest.raises((CorruptionError, SnapshotNotFoundError)) as raised:
                await put_back(place, target)
            if key.startswith(OBJECTS):
                assert raised.value.key == key
            for found in await contents(target):
                assert found.startswith(PREFIX)
            if await contents(target):
                with pytest.raises(CorruptionError):
                    async with opened(target):
                        pass
            await place.delete(key)
            await place.create(key, data)
    assert (await inspected(place)).ok


async def test_an_archive_of_which_something_is_missing_restores_nothing_at_all(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        await take(source, place)
    [key] = [key for key in await contents(place) if "/tail/" in key][:1]
    await place.delete(key)
    target = MemoryBackend()
    with pytest.raises(CorruptionError, match="missing, though the backup needs it") as raised:
        await put_back(place, target)
    assert raised.value.key == key
    assert await contents(target) == {}


async def test_a_restore_over_something_changes_nothing(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        await take(source, place)
        before = vault.digest()
        with pytest.raises(ConflictError, match="a restore overwrites nothing"):
            await put_back(place, source)  # The original itself, exactly as it was then.
    target = MemoryBackend()
    async with opened(target) as owner:
        await run(owner, "create", "mine", {"n": 1})
    there = await contents(target)
    with pytest.raises(ConflictError, match="'posts'"):
        await put_back(place, target)
    assert await contents(target) == there
    assert vault.digest() == before


async def test_an_owner_that_opens_the_empty_place_meanwhile_and_the_restore_never_both_win(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        await take(source, place)
    target = MemoryBackend()

    class Rival(MemoryBackend):
        """Lets an owner in between the look and the first write."""

        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None):
            if key.endswith(UNFINISHED):
                async with opened(target) as owner:
                    await run(owner, "create", "mine", {"n": 1})
            return await super().create(key, data)

    rival = Rival()
    rival._store = target._store
    with pytest.raises(ConflictError):
        await put_back(place, rival)
    async with opened(target) as owner:
        assert (await run(owner, "get", "mine"))["n"] == 1
    assert (await verified(target)).ok


@pytest.mark.parametrize("killed", [False, True], ids=["at once", "found when it goes on"])
async def test_an_owner_that_saw_the_place_empty_and_opens_it_a_moment_too_late_is_met(
    vault: Vault, killed: bool
) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        await take(source, place)
    foreign = bytearray(vault.read(entry_key(1)))
    foreign[40] ^= 1  # Another `open`, just as large.

    class Rival(MemoryBackend):
        """Stores the rival's entry right after the restore has begun."""

        async def create(self, key: str, data: bytes, *, timeout_s: float | None = None):
            info = await super().create(key, data)
            if key.endswith(UNFINISHED):
                await super().create(PREFIX + entry_key(1), bytes(foreign))
            return info

    target = Rival()
    if killed:
        with pytest.raises(Killed):
            await put_back(place, Life(4).connect(target), parallel=1)
    with pytest.raises(ConflictError, match="something is stored"):
        await put_back(place, target)
    with pytest.raises(CorruptionError):
        async with opened(target):
            pass


async def test_another_point_does_not_go_on_where_a_restore_was_broken_off(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        await take(source, place)
        await take(source, place)
    first, second = await archive(place).points()
    target = MemoryBackend()
    await target.create(f"{PREFIX}{UNFINISHED}", b'{"point":"%s","namespace":"posts"}' % first.encode())
    with pytest.raises(ConflictError, match=first):
        await put_back(place, target, point=second)
    await put_back(place, target, point=first)
    assert (await verified(target)).ok


async def test_points_are_found_by_their_beginning(vault: Vault) -> None:
    place = MemoryBackend()
    with pytest.raises(SnapshotNotFoundError, match="no backup is stored here"):
        await archive(place).find()
    async with directory(vault.folder) as source:
        catalogue, _ = await take(source, place)
        await take(source, place)
    assert await archive(place).find(catalogue.point[:26].upper()) == catalogue.point
    with pytest.raises(SnapshotNotFoundError, match="2 points"):
        await archive(place).find("2")
    with pytest.raises(SnapshotNotFoundError, match="no point"):
        await archive(place).find("1999")


async def test_a_namespace_that_is_not_there_is_a_typed_error(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        with pytest.raises(CollectionNotFoundError, match="nobody"):
            await take(source, place, namespaces=[NAMESPACE, "nobody"])
        await take(source, place)
    with pytest.raises(CollectionNotFoundError, match="it holds posts"):
        await put_back(place, MemoryBackend(), namespaces=["nobody"])


async def test_a_catalogue_cannot_name_what_lies_outside(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        place = MemoryBackend()
        catalogue, _ = await take(source, place)
    data = await place.read(POINTS + catalogue.point)
    content = data.removesuffix(b"\n").rpartition(b"\n")[0].replace(b'"log/', b'"../', 1) + b"\n"
    forged = content + b'{"checksum":"%s"}\n' % xxhash.xxh3_128_hexdigest(content).encode()
    with pytest.raises(CorruptionError, match=r"\.\./"):
        decode_catalogue("points/x", forged)


async def test_a_catalogue_of_a_later_version_is_no_damage(vault: Vault) -> None:
    async with directory(vault.folder) as source:
        catalogue, _ = await take(source, MemoryBackend())
    content = encode_catalogue(catalogue).replace(b'"parquedb_backup":1', b'"parquedb_backup":2').splitlines(True)[:-1]
    last = f'{{"checksum":"{xxhash.xxh3_128_hexdigest(b"".join(content))}"}}\n'.encode()
    with pytest.raises(NewerFormatError, match=r"points/then.*later version.*run that version"):
        decode_catalogue("points/then", b"".join(content) + last)
