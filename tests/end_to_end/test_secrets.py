"""Canaries: secrets are planted wherever a user may put one, and searched for in every byte that comes out."""

import asyncio
import contextlib
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ray import cloudpickle

import parquedb
from parquedb.access.grants import sign
from parquedb.access.permissions import Permissions
from parquedb.cluster.runtime.placement import find
from parquedb.cluster.transport.calls import wait_for
from parquedb.errors import ParqueDBError
from parquedb.observability.hooks import register_hook
from parquedb.observability.logs import get_logger
from parquedb.observability.logs.formats import ConsoleFormatter, JsonFormatter
from parquedb.observability.otel.tracing import OpenTelemetryHook
from parquedb.observability.testing import RecordingHook
from tests.support.collector import rotel_binary, running_collector
from tests.support.s3_servers import S3Server, start_weed

ROOT = Path(__file__).resolve().parents[2]

KEY = "CANARYKEY7Q2Z"
SECRET = "canary/Secret+9ZpQ4"
WRONG = "canaryWrongSecret31"
TOKEN = "canaryBearerToken55"
PASSWORD = "canaryUrlPassword8"
SSN = "canary-078-05-1120"
GRANT_KEY = "canaryKeyOfGrants-6zVq1rT8sW2x-00"
GRANT = sign("canaryKeyOfGrants-elsewhere-77777", "elsewhere", Permissions(["*:*"]), 4e9)
CANARIES = {
    **{"key": KEY, "secret": SECRET, "wrong": WRONG, "token": TOKEN, "password": PASSWORD, "ssn": SSN},
    **{"key of grants": GRANT_KEY, "grant": GRANT[10:60]},
}
FORMS = {name: {canary, canary.replace("/", "%2F").replace("+", "%2B")} for name, canary in CANARIES.items()}


# A hook is told what the caller asked for, filters included: it is the application's own code. And a pickle says which
# access key it needs the secret of.
MEANT = frozenset(
    {
        ("ssn", "hook contexts"),
        *(("key", f"pickle of {name}") for name in ("database", "collection", "settings", "view")),
    }
)


class Sinks:
    """What came out, by where."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def put(self, where: str, what: object) -> None:
        text = what.decode("latin-1") if isinstance(what, bytes) else str(what)
        self.found[where] = self.found.get(where, "") + text

    def error(self, where: str, error: BaseException) -> None:
        """Everything that becomes of an error that a caller got."""
        self.put(f"{where}: text", f"{error} {error!r} {getattr(error, '__notes__', '')}")
        self.put(f"{where}: traceback", "".join(traceback.format_exception(error)))
        if isinstance(error, ParqueDBError):
            self.put(f"{where}: to_json", json.dumps(error.to_json(stack=True)))
            self.put(f"{where}: pickle", pickle.dumps(error))
            again = pickle.loads(pickle.dumps(error))
            self.put(f"{where}: causes", repr([again, again.cause, vars(again)]))

    def leaks(self, *, but: frozenset[tuple[str, str]] = frozenset()) -> set[tuple[str, str]]:
        return {
            (name, where)
            for where, text in self.found.items()
            for name, forms in FORMS.items()
            if any(form in text for form in forms) and (name, where.split(":")[0]) not in but
        }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = start_weed(tmp_path_factory.mktemp("canary-weed"), key=KEY, secret=SECRET)
    yield server
    server.stop()


@contextlib.contextmanager
def listening(sinks: Sinks) -> Iterator[None]:
    """Write every record of this process in both of our forms, and in the standard library's own."""
    tree, level = get_logger(), get_logger().level
    forms = {"console": ConsoleFormatter(), "json": JsonFormatter(), "plain": logging.Formatter("%(message)s")}
    streams = {name: io.StringIO() for name in forms}
    handlers = []
    for name, formatter in forms.items():
        handler = logging.StreamHandler(streams[name])
        handler.setFormatter(formatter)
        handlers.append(handler)
        tree.addHandler(handler)
    tree.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        tree.setLevel(level)
        for handler in handlers:
            tree.removeHandler(handler)
        for name, stream in streams.items():
            sinks.put(f"log {name}", stream.getvalue())


def log_like_an_application(document: dict[str, Any]) -> None:
    """What a program may well log below our tree: documents, headers, addresses, errors with all of that."""
    logger = get_logger("test.application")
    logger.info("saved %s", document)
    logger.info("saved", extra={"document": document, "headers": {"Authorization": f"Bearer {TOKEN}"}})
    logger.warning("access %s %s keys=%s", GRANT_KEY, {"grants": [GRANT]}, GRANT_KEY)
    logger.warning("sent Authorization: Bearer %s to http://ada:%s@host/", TOKEN, PASSWORD)
    try:
        try:
            raise ConnectionError(f"http://ada:{PASSWORD}@host:9000 refused {KEY}:{SECRET}")  # noqa: TRY301
        except ConnectionError as cause:
            raise parquedb.ParqueDBError("failed", context={"headers": f"authorization: {TOKEN}"}) from cause
    except parquedb.ParqueDBError as error:
        logger.exception("failed: %s", error.__cause__)


def answer(reply: Any) -> Any:
    """Wait for what a bare handle answers; an error is raised as it was, with Ray's as its cause."""
    return wait_for(reply, "people", 30)


def use(db: parquedb.Database, sinks: Sinks) -> None:
    """Use a database, well and badly."""
    people = db["people"]
    people.register({"ssn": "int", "name": "string!"}, mode="warn")
    document = people.create({"name": "Ada", "ssn": SSN}, id="ada")
    people.find({"ssn": SSN})
    db.flush("people")
    log_like_an_application(document)
    for where, call in {
        "conflict": lambda: people.update("ada", {"$set": {"name": "x"}}, expected_version=9),
        "filter": lambda: people.find({"name": {"$wrong": 1}}),
        "invalid": lambda: people.create({"name": 5}),
        "denied": lambda: db.acting_for(["read:people"]).create("people", {"name": "x"}),
        "denied by the owner": lambda: answer(people.actor.delete.remote("ada", grant=db.issue_grant(["get:*"]))),
        "forged": lambda: answer(people.actor.get.remote("ada", grant=GRANT)),
    }.items():
        with contextlib.suppress(ParqueDBError):
            try:
                call()
            except ParqueDBError as error:
                sinks.error(where, error)
                raise
    sinks.put("repr", [db, people, db.settings, db._connection, people.actor, vars(db._connection)])
    view = db.acting_for(["read:people"])
    for name, pickled in {"database": db, "collection": people, "settings": db.settings, "view": view}.items():
        sinks.put(f"pickle of {name}", pickle.dumps(pickled) + cloudpickle.dumps(pickled))
    sinks.put("metrics", [db.stats("people"), db.health()])
    sinks.put("verify", json.dumps(db.verify().to_json()))
    sinks.put("stored names", db.namespaces())


def use_badly(sinks: Sinks, place: dict[str, Any]) -> None:
    """Meet the errors of a real server, and of addresses that hold credentials."""
    refused = {"wrong secret": {"secret": WRONG}, "wrong key": {"key": KEY + "x"}, "half": {"secret": None}}
    for where, change in refused.items():
        with pytest.raises(ParqueDBError) as caught:
            parquedb.connect(**place | change)
        sinks.error(where, caught.value)
        get_logger("test.application").error("no database", exc_info=caught.value)
    for where, change in {
        "endpoint": {"endpoint_url": f"http://ada:{PASSWORD}@127.0.0.1:9"},
        "address": {"url": f"s3://ada:{PASSWORD}@bucket/prefix"},
        "key of grants": {"access": {"keys": [GRANT_KEY, GRANT_KEY[:31]]}},
        "key and grant": {"access": {"keys": [GRANT_KEY], "grant": GRANT}},
        "no grant": {"access": {"grant": GRANT[:-1] + "!"}},
        "setting": {"storage": {"timeout_s": f"http://ada:{PASSWORD}@h"}},
    }.items():
        with pytest.raises(ParqueDBError) as caught:
            parquedb.connect(**place | change)
        sinks.error(where, caught.value)


def run_the_command(sinks: Sinks, place: dict[str, Any], secret: str) -> None:
    environ = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PARQUEDB_KEY": KEY,
        "PARQUEDB_SECRET": secret,
        "PARQUEDB_ACCESS__KEYS": GRANT_KEY,
        "PARQUEDB_ENDPOINT_URL": place["endpoint_url"],
        "PARQUEDB_LOG_LEVEL": "DEBUG",
    }
    for options in ([], ["--json"]):
        command = [sys.executable, "-m", "parquedb.cluster.cli", "verify", place["url"], *options]
        done = subprocess.run(command, env=environ, capture_output=True, timeout=100, check=False)
        assert done.returncode in (0, 2), done.stderr
        sinks.put("command", done.stdout + done.stderr)


def read_what_ray_keeps(sinks: Sinks) -> None:
    """Look through Ray's own files and tables: names of actors, their state, the logs of all its processes."""
    logs = Path(ray._private.worker.global_worker.node.get_session_dir_path()) / "logs"
    for file in logs.rglob("*"):
        if file.is_file():
            sinks.put(f"ray's {file.name}", file.read_bytes())
    sinks.put("ray's tables", [ray._private.state.actors(), ray.util.list_named_actors(all_namespaces=True)])


def test_no_canary_comes_out_anywhere(
    ray_cluster: str, store: S3Server, tmp_path: Path, unique_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks, hook, spans = Sinks(), RecordingHook(), InMemorySpanExporter()
    place = {
        "url": f"s3://{store.bucket}/{unique_prefix}",
        "endpoint_url": store.endpoint_url,
        "key": KEY,
        "secret": SECRET,
    }
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {TOKEN}")
    unregister = [register_hook(hook), register_hook(OpenTelemetryHook(provider, record_exceptions=True))]
    with contextlib.ExitStack() as stack:
        stack.enter_context(listening(sinks))
        collector = stack.enter_context(running_collector(tmp_path)) if rotel_binary() else None
        asked = {"log_level": "DEBUG", "log_format": "json", "log_redact": ("ssn",), "log_slow_s": 0.001}
        asked["access"] = {"required": True, "keys": [GRANT_KEY]}
        with parquedb.connect(**place, **asked) as db:
            if collector is not None:
                # Owners start later than this; in this process nothing shall go on exporting after the test.
                monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
                monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
                monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "50")
            use(db, sinks)
            use_badly(sinks, place)
            asyncio.run(asyncio.to_thread(run_the_command, sinks, place, SECRET))
            run_the_command(sinks, place, WRONG)
            owner = find(db.settings, "people")
            ray.get(owner.close.remote())
            if collector is not None:
                collector.logs("parquedb", lambda got: any(one.event_name == "owner.closed" for one in got))
            read_what_ray_keeps(sinks)
            ray.kill(owner)
        for stop in unregister:
            stop()
        if collector is not None:
            for signal in ("traces", "logs"):
                sinks.put(f"collector's {signal}", collector.all(signal))
    sinks.put("spans", [span.to_json() for span in spans.get_finished_spans()])
    sinks.put("hook contexts", hook.records)
    assert len(hook.records) > 10
    assert len(spans.get_finished_spans()) > 10
    assert '"event":"owner.opened"' in "".join(sinks.found.values())
    assert "saved" in sinks.found["log json"]
    assert sinks.leaks(but=MEANT) == set()


def test_the_search_finds_a_canary() -> None:
    sinks = Sinks()
    sinks.put("somewhere", f"x{SECRET}x".encode())
    sinks.put("encoded", SECRET.replace("/", "%2F").replace("+", "%2B"))
    assert sinks.leaks() == {("secret", "somewhere"), ("secret", "encoded")}
