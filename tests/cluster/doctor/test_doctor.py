"""The doctor finds what is broken for real, says how to mend it, ends in bounded time, and leaves nothing behind."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from parquedb.clock import SystemClock
from parquedb.cluster.cli.main import main
from parquedb.cluster.doctor import machine
from parquedb.cluster.doctor.checks import REMEDIES, Check, Examination, Patient, Status
from parquedb.cluster.doctor.cluster import resources, token
from parquedb.cluster.doctor.doctor import DoctorReport, _Running, doctor
from parquedb.cluster.doctor.store import NAMES, StoreChecks, judge_space
from parquedb.settings.environment import load_settings
from parquedb.storage.backend import ListPage, ObjectInfo
from parquedb.storage.backends.memory import MemoryBackend
from tests.support import lost_collectors
from tests.support.collector import running_collector
from tests.support.fault_proxy import FaultProxy
from tests.support.places import on_s3
from tests.support.s3_servers import S3Server

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("PARQUEDB_", "OTEL_")) or name == "RAY_ADDRESS":
            monkeypatch.delenv(name)
    return


def check(report: DoctorReport, name: str) -> Check:
    [found] = [one for one in report.checks if one.name == name]
    return found


def refused(found: Check, *words: str, status: Status = Status.FAILED) -> None:
    """See that a check says what is wrong, and how to mend it."""
    assert found.status is status, found
    assert found.remedy == REMEDIES[found.name]
    for word in words:
        assert word in found.found


# --- the whole


def test_a_healthy_place_has_nothing_wrong_and_stays_as_it_was(tmp_path: Path) -> None:
    report = doctor(tmp_path / "deep" / "db", environ={})
    assert report.ok
    assert [one.name for one in report.checks] == list(REMEDIES)
    assert {check(report, name).status for name in NAMES} == {Status.OK}
    assert list(tmp_path.iterdir()) == [], "what was made is gone again"


def test_a_database_in_use_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "~tmp").mkdir()
    (tmp_path / "~lock").touch()
    (tmp_path / "posts" / "log").mkdir(parents=True)
    (tmp_path / "posts" / "log" / "x").write_bytes(b"kept")
    before = sorted(path for path in tmp_path.rglob("*"))
    assert doctor(tmp_path, environ={}).ok
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_without_a_url_the_rest_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    report = doctor(environ={})
    assert report.ok
    assert report.url is None
    assert {check(report, name).found for name in NAMES} == {"no URL is given"}


def test_whatever_hangs_the_doctor_ends_and_says_so() -> None:
    def hang(_: Patient) -> Iterator[Check]:
        yield Check.of("store-open", Status.OK, "fine")
        while True:
            time.sleep(3600)

    began_s = time.monotonic()
    running = _Running(Examination(("store-open", "store-list", "store-read"), hang, 0.2), Patient(None))
    found = list(running.checks())
    assert time.monotonic() - began_s < 5
    assert [one.status for one in found] == [Status.OK, Status.FAILED, Status.SKIPPED]
    refused(found[1], "did not end within 0.2 s")
    assert running.hanging


def test_a_bug_in_a_check_is_an_answer() -> None:
    def broken(_: Patient) -> Iterator[Check]:
        raise RuntimeError("oh")
        yield

    [found] = _Running(Examination(("collector",), broken, 5), Patient(None)).checks()
    refused(found, "RuntimeError: oh")


def test_the_page_holds_each_check_and_its_remedy() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert {row.split("`")[1]: row.removesuffix(" |").rpartition(" | ")[2] for row in rows} == dict(REMEDIES)


# --- settings


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PARQUEDB_ENDPONT_URL", "did you mean PARQUEDB_ENDPOINT_URL?"),
        ("PARQUEDB_ENGINE_FLUSH_ROWS", "did you mean PARQUEDB_ENGINE__FLUSH_ROWS?"),
        ("PARQUEDB_GATEWAY__PROT", "did you mean PARQUEDB_GATEWAY__PORT?"),
        ("PARQUEDB_LOG_LEVL", "did you mean PARQUEDB_LOG_LEVEL?"),
        ("PARQUEDB_XYZZY_PLUGH", "read by nobody"),
    ],
)
def test_a_misspelt_variable_is_named_with_what_was_meant(name: str, words: str) -> None:
    refused(check(doctor(environ={name: "1"}), "settings"), name, words, status=Status.WARNING)


def test_variables_that_are_known_are_fine() -> None:
    known = {"PARQUEDB_ENGINE__FLUSH_ROWS": "1", "PARQUEDB_URL": "x", "PARQUEDB_BACKUP__PARALLEL": "2"}
    gateway = {"PARQUEDB_GATEWAY__ACCESS__TLS_KEY_PASSWORD": "hush", "PARQUEDB_ENVIRONMENT": "production"}
    found = check(doctor(environ={**known, **gateway}), "settings")
    assert (found.status, found.found) == (Status.OK, "5 variables, all known")


def test_a_setting_that_cannot_be_used_is_named_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUEDB_ENGINE__FLUSH_ROWS", "many")
    monkeypatch.setenv("PARQUEDB_SECRET", "hush-hush")
    report = doctor("./data")
    refused(check(report, "settings"), "PARQUEDB_ENGINE__FLUSH_ROWS", "got 'many'")
    assert check(report, "store-open").status is Status.SKIPPED
    assert "hush-hush" not in json.dumps(report.to_json())


# --- the store


def test_a_place_that_cannot_be_written_to_is_named() -> None:
    report = doctor("/sys/parquedb-doctor", environ={})  # Also root may not.
    refused(check(report, "store-open"), "/sys/parquedb-doctor")
    assert check(report, "store-delete").status is Status.SKIPPED
    assert not report.ok


def test_a_healthy_s3_store_has_nothing_wrong(moto: S3Server, unique_prefix: str) -> None:
    report = doctor(environ={}, **on_s3(moto, unique_prefix))
    assert report.ok, [one for one in report.checks if one.status is Status.FAILED]
    assert {check(report, name).status for name in NAMES if name != "disk-space"} == {Status.OK}


def test_wrong_credentials_are_a_refusal_that_names_them(weed: S3Server, unique_prefix: str) -> None:
    report = doctor(environ={}, **{**on_s3(weed, unique_prefix), "key": "nobody", "secret": "wrong-secret"})
    refused(check(report, "store-list"), "403", "are key, secret and region right")
    assert "wrong-secret" not in json.dumps(report.to_json())


def test_a_bucket_that_is_not_there_is_named(moto: S3Server) -> None:
    report = doctor(environ={}, **{**on_s3(moto, "x"), "url": "s3://no-such-bucket/x"})
    refused(check(report, "store-list"), "the bucket has to be made first")


def test_a_store_behind_a_black_hole_is_given_up_in_time(moto_proxy: FaultProxy, moto: S3Server) -> None:
    rule = moto_proxy.add("hang_before")
    began_s = time.monotonic()
    report = doctor(environ={}, timeout_s=0.5, **on_s3(moto, "x", endpoint_url=moto_proxy.url))
    assert time.monotonic() - began_s < 10
    refused(check(report, "store-list"), "no answer within 0.5 s")
    rule.release()


class IgnoresConditions(MemoryBackend):
    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        return await self.write(key, data)


class ListsLate(MemoryBackend):
    async def list(self, prefix: str, **more: Any) -> ListPage:
        page = await super().list(prefix, **more)
        return ListPage(page.objects[:-1], page.more, page.server_s)


class KeepsDamage(MemoryBackend):
    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        await self.write(key, b"cut")
        return False


class KeepsAll(MemoryBackend):
    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Forget to."""


class AltersBytes(MemoryBackend):
    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        return b"x" + await super().read(key)


@pytest.mark.parametrize(
    ("broken", "name", "words"),
    [
        (IgnoresConditions, "store-conditions", "both were told that they had made it"),
        (ListsLate, "store-listing", "are not in it"),
        (KeepsDamage, "store-checksum", "was stored"),
        (KeepsAll, "store-delete", "still there"),
        (AltersBytes, "store-read", "not what was stored"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_store_that_breaks_a_promise_is_found_out(broken: type[MemoryBackend], name: str, words: str) -> None:
    store = broken()
    checks = StoreChecks(Patient(None), load_settings("memory://x"), lambda _: store)
    found = {one.name: one async for one in checks.run()}
    refused(found[name], words)
    if broken is not KeepsAll:
        store.__class__ = MemoryBackend
        assert (await store.list("")).objects == (), "leaves nothing behind"


# --- clocks


class Ahead(SystemClock):
    def now(self) -> Any:
        return super().now() + timedelta(minutes=20)


class Stepping(SystemClock):
    def __init__(self) -> None:
        self.asked = 0

    def now(self) -> Any:
        self.asked += 1
        return super().now() + timedelta(seconds=30 * self.asked)


def test_a_clock_that_is_wrong_is_told_by_how_much(tmp_path: Path) -> None:
    refused(check(doctor(tmp_path, environ={}, clock=Ahead()), "clock-store"), "1200", "ahead of the store")


def test_a_clock_that_is_wrong_is_found_out_by_an_s3_store_too(moto: S3Server, unique_prefix: str) -> None:
    report = doctor(environ={}, clock=Ahead(), **on_s3(moto, unique_prefix))
    refused(check(report, "clock-store"), "ahead of the store")


def test_a_clock_that_steps_is_found_out() -> None:
    refused(check(doctor(environ={}, clock=Stepping()), "clock-steps"), "went on by 30", status=Status.WARNING)


# --- the collector


def test_a_collector_that_takes_what_is_sent_is_fine(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        for protocol, endpoint in (("http/protobuf", collector.http_endpoint), ("grpc", collector.grpc_endpoint)):
            environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
            found = check(doctor(environ=environ), "collector")
            assert found.status is Status.OK, found
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        refused(check(doctor(environ=environ), "collector"), "is it the port for http/protobuf?")
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_endpoint}
        refused(check(doctor(environ=environ), "collector"), "is it the port for grpc?")


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (lost_collectors.refusing, "cannot be reached"),
        (lost_collectors.unknown_name, "cannot be reached"),
        (lost_collectors.silent, "no answer within"),
    ],
    ids=["refusing", "unknown name", "silent"],
)
def test_a_dead_collector_is_found_out(lost: Any, words: str) -> None:
    with lost() as endpoint:
        found = check(doctor(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, timeout_s=1), "collector")
    refused(found, words)


def test_a_collector_that_answers_errors_or_has_no_such_path_is_found_out() -> None:
    with lost_collectors.answering(503) as endpoint:
        found = check(doctor(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}), "collector")
        refused(found, "answers 503", status=Status.WARNING)
    with lost_collectors.answering(404) as endpoint:
        environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}/v1/trace"}
        refused(check(doctor(environ=environ), "collector"), "/v1/trace does not exist")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector"}, "no address"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "is no protocol"),
    ],
)
def test_a_collector_that_is_set_wrong_is_named(environ: dict[str, str], words: str) -> None:
    found = check(doctor(environ=environ, timeout_s=1), "collector")
    assert found.status is Status.FAILED
    assert words in found.found or "cannot be reached" in found.found


def test_a_collector_that_is_switched_off_is_not_asked() -> None:
    environ = {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert check(doctor(environ=environ), "collector").status is Status.SKIPPED


# --- Ray


def test_a_cluster_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    report = doctor(ray_address=f"127.0.0.1:{port}", environ={}, timeout_s=1)
    refused(check(report, "ray-cluster"), f"127.0.0.1:{port} cannot be reached")
    assert check(report, "ray-memory").status is Status.SKIPPED


def test_a_token_that_is_missing_is_named(tmp_path: Path) -> None:
    asked = {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    refused(token(asked, "auto"), "there is none")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert token(asked, "auto").status is Status.OK
    assert token({**asked, "RAY_AUTH_TOKEN": "x"}, "auto").status is Status.OK
    (tmp_path / "empty").touch()
    refused(token({**asked, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "empty")}, "auto"), "is empty")
    refused(token({"RAY_AUTH_MODE": "disabled"}, "head:6379"), "can run programs", status=Status.WARNING)
    elsewhere = {"HOME": str(tmp_path / "nobody")}
    refused(token(elsewhere, "head:6379"), "does not let this process in", status=Status.WARNING)
    assert token(elsewhere, None).status is Status.SKIPPED


def test_a_cluster_that_is_full_is_told() -> None:
    total = {"memory": 100 << 30, "object_store_memory": 10 << 30}
    assert resources({"total": total, "free": total}).status is Status.OK
    refused(resources({"total": total, "free": {"memory": 50 << 30}}), "0.0 of 10.0", status=Status.WARNING)


# --- the machine


def test_what_is_left_of_memory_disk_and_files_is_judged(tmp_path: Path) -> None:
    gib = 1 << 30
    assert machine.judge_memory(8 * gib, 4 * gib).status is Status.OK
    refused(machine.judge_memory(8 * gib, gib // 2), "0.5 of 8.0", status=Status.WARNING)
    refused(machine.judge_memory(8 * gib, gib // 8), "0.1 of 8.0")
    refused(machine.judge_shared(8 * gib, 64 << 20), "0.1 GiB", status=Status.WARNING)
    refused(judge_space(100 * gib, gib), "1.0 of 100.0", status=Status.WARNING)
    refused(judge_space(100 * gib, gib // 8), "0.1 of 100.0")
    refused(machine.judge_files(1024), "1024", status=Status.WARNING)
    refused(machine.judge_files(64), "64")
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")
    cgroup.mkdir()
    assert machine.memory_of(meminfo, cgroup) == (8 * gib, 4 * gib)
    (cgroup / "memory.max").write_text(f"{2 * gib}\n")
    (cgroup / "memory.current").write_text(f"{gib}\n")
    assert machine.memory_of(meminfo, cgroup) == (2 * gib, gib), "a container has what its limit leaves"


def test_a_limit_of_open_files_is_seen_for_real(tmp_path: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200));"
        "from parquedb.cluster.doctor.doctor import doctor;"
        "print([c.status.value for c in doctor(environ={}).checks if c.name == 'open-files'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert "['failed']" in done.stdout, done.stderr


def test_packages_that_are_missing_or_old_are_named() -> None:
    assert machine.packages(["pyarrow>=20", "no-such-extra-package>=1; extra == 'serve'"]).status is Status.OK
    refused(machine.packages(["pyarrow>=9999", "no-such-package"]), "is older than 9999", "no-such-package is missing")


# --- the gateway


def test_a_gateway_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    report = doctor(f"http://127.0.0.1:{port}", environ={}, timeout_s=1)
    refused(check(report, "gateway"), f"127.0.0.1:{port} cannot be reached")
    assert {check(report, name).status for name in NAMES} == {Status.SKIPPED}


def test_something_else_than_a_gateway_is_found_out(moto: S3Server) -> None:
    refused(check(doctor(moto.endpoint_url, environ={}), "gateway"), "is it a gateway")


# --- the command


def test_the_command_exits_with_1_when_something_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path)]) == 0
    assert "store-conditions" in capsys.readouterr().out
    assert main(["doctor", "/sys/parquedb-doctor"]) == 1
    told = capsys.readouterr().out
    assert "failed   store-open" in told
    assert REMEDIES["store-open"] in told
    assert main(["doctor", "/sys/parquedb-doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert {one["status"] for one in told["checks"]} <= {"ok", "warning", "failed", "skipped"}


def test_the_command_ends_although_a_disk_hangs(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from parquedb.storage.backends.directory import Directory\n"
        "Directory.list = lambda *_: time.sleep(3600)\n"  # As a mount whose server is gone.
        "from parquedb.cluster.cli.main import main\n"
        "sys.exit(main(['doctor', sys.argv[1], '--timeout', '0.5']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "failed   store-list" in done.stdout
