"""What nothing refers to: told of with its age, and only worth a warning where an owner should have removed it."""

import random
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from parquedb.errors import ConfigurationError, StorageWriteError
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backends.strays import Stray, StrayKind, strays_of
from parquedb.storage.open import open_backend
from parquedb.storage.verification.inventory import Inventory, strays_at_root
from parquedb.storage.verification.report import Findings, Level
from parquedb.storage.verification.rules import Rule, Severity
from parquedb.storage.verification.verifier import Verifier
from tests.support.engines import NAMESPACE, inline, opened, run, settings
from tests.support.pasts import Life
from tests.support.places import on_s3, settings_of
from tests.support.s3_servers import S3Server
from tests.support.vault import verified
from tests.support.virtual_loop import Process, SimClock, run_virtually

GRACES = {"snapshot_grace_s": 60, "log_grace_s": 10, "checkpoint_entries_max": 2, "collect_interval_s": 86_400}


def lived(collecting: bool) -> dict[tuple[str, Severity], int]:
    """Return what is found of a namespace whose owner was at work for long, collecting or not."""
    found: dict[tuple[str, Severity], int] = {}

    async def live() -> None:
        clock = SimClock(Process("owner"))
        life = await Life.begin(clock, **GRACES)
        rng = random.Random(3)
        await life.live([("create", "a", 1), ("flush",), ("update", "a", 2), ("flush",), ("compact",)])
        await life.reopen()
        for number in range(30):
            await life.live([("update", "a", rng.randrange(1000)), ("flush",), ("wait",)])
            if number % 5 == 4:
                await life.live([("compact",)])
            if collecting:
                await life.live([("collect",)])
        await life.live([("update", "a", 1)])
        expected = settings(**{**life.settings, "collect_interval_s": 10})
        made = Verifier(life.store, NAMESPACE, expected, clock=clock, level=Level.QUICK, run=inline)
        for finding in (await made.verify()).findings:
            kind = finding.code, finding.severity
            found[kind] = found.get(kind, 0) + 1

    run_virtually(live)
    return found


def test_what_an_owner_had_the_time_to_collect_and_did_not_is_a_warning() -> None:
    found = lived(collecting=False)
    assert found["OBJECT_LEFT", Severity.WARNING] > 0
    assert found["LOG_ENTRY_LEFT", Severity.WARNING] > 0


def test_what_is_collected_in_time_is_none() -> None:
    assert {kind for kind in lived(collecting=True) if kind[1] is not Severity.INFORMATION} == set()


async def test_what_nobody_was_there_to_collect_is_information() -> None:
    store = MemoryBackend()
    async with opened(store) as owner:
        for n in range(3):
            await run(owner, "create", f"d{n}", {})
            await owner.flush()
    report = await verified(store, Level.QUICK)
    assert {finding.severity for finding in report.findings} == {Severity.INFORMATION}
    assert {finding.code for finding in report.findings} == {"OBJECT_LEFT", "LOG_ENTRY_LEFT"}


# Strays on a disk.


async def test_a_directory_tells_of_foreign_names_and_temporary_files(tmp_path: Path) -> None:
    store = LocalBackend(tmp_path)
    await store.create("posts/data/1-a.parquet", b"1")
    (tmp_path / "posts" / "data" / "Read Me").write_text("hello")
    (tmp_path / "posts" / "link").symlink_to("data")
    (tmp_path / "~tmp" / "17-abc").write_text("half")
    (tmp_path / "Notes").mkdir()
    inside = await strays_of(store, "posts/")
    assert {(one.kind, one.name, one.size) for one in inside if one.name != "posts/link"} == {
        (StrayKind.FOREIGN, "posts/data/Read Me", 5)
    }
    assert {one.name for one in inside} == {"posts/data/Read Me", "posts/link"}
    beside = await strays_of(store, "")
    assert {(one.kind, one.name) for one in beside} == {
        (StrayKind.FOREIGN, "Notes"),
        (StrayKind.TEMPORARY, "~tmp/17-abc"),
    }
    findings = Findings()
    await strays_at_root(store, findings)
    assert {(one.code, one.severity) for one in findings.kept} == {
        ("NAME_FOREIGN", Severity.WARNING),
        ("TEMPORARY_FILE", Severity.INFORMATION),
    }
    await store.close()


async def test_a_memory_store_tells_of_none() -> None:
    assert await strays_of(MemoryBackend(), "posts/") == ()


async def test_a_directory_opened_for_reading_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        LocalBackend(tmp_path / "absent", read_only=True)
    assert list(tmp_path.iterdir()) == []
    store = LocalBackend(tmp_path, read_only=True)
    for write in (store.create("posts/a", b""), store.write("posts/a", b""), store.delete("posts/a")):
        with pytest.raises(StorageWriteError, match="reading only"):
            await write
    assert not (await store.list("posts/")).objects
    assert list(tmp_path.iterdir()) == []
    await store.close()


# Strays on S3.


async def test_s3_tells_of_unfinished_uploads_and_foreign_names(weed: S3Server, unique_prefix: str) -> None:
    place = on_s3(weed, unique_prefix)
    store = open_backend(settings_of(place))
    async with opened(store) as owner:
        await run(owner, "create", "a", {})
    client: Any = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=weed.endpoint_url,
        aws_access_key_id=weed.key,
        aws_secret_access_key=weed.secret,
    )
    upload = client.create_multipart_upload(Bucket=weed.bucket, Key=f"{unique_prefix}/posts/data/1-ab.parquet")
    client.put_object(Bucket=weed.bucket, Key=f"{unique_prefix}/posts/data/Read Me", Body=b"hello")
    report = await verified(store)
    assert report.ok
    assert {(one.code, one.key, one.severity) for one in report.findings} == {
        ("UPLOAD_UNFINISHED", "posts/data/1-ab.parquet", Severity.INFORMATION),
        ("NAME_FOREIGN", "posts/data/Read Me", Severity.WARNING),
    }
    assert upload["UploadId"]
    await store.close()


async def test_an_old_upload_is_a_warning() -> None:
    found = Findings()
    inventory = Inventory(server_s=100_000.0)
    inventory.strays = (Stray(StrayKind.UPLOAD, "posts/x", 0, 0.0),)
    inventory.report_names("posts/", found)
    assert [(one.code, one.severity) for one in found.kept] == [(Rule.UPLOAD_UNFINISHED.name, Severity.WARNING)]
