"""Log records reach a real collector by both protocols; a dead one costs only the records."""

import logging
import os
import socket
import subprocess
import sys
import time

import pytest
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from parquedb.errors import ConfigurationError, StorageReadError
from parquedb.observability.logs import get_logger
from parquedb.observability.otel.exporters import SHUTDOWN_S
from parquedb.observability.otel.log_records import OpenTelemetryLogHandler, export_logs
from tests.support.collector import attributes_of, free_port, rotel_binary, running_collector

# Before the working directory comes whatever this run was told to import from: a built wheel, perhaps.
IMPORTS = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()]))
OTEL_FREE = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
SPAN = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}


@pytest.fixture(autouse=True)
def _no_otel_variables(monkeypatch):
    for name in set(os.environ) - set(OTEL_FREE):
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    if rotel_binary() is None:
        pytest.skip("the `rotel` wheel (a real OpenTelemetry collector) is not installed")
    with running_collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture
def black_hole():
    """An endpoint that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def memory():
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    exporter.export_of_ours = export_logs(provider)
    yield exporter
    exporter.export_of_ours.shutdown()


def log_once() -> None:
    extra = {"event": "storage.failed", "namespace": "posts", "rows": 3, "keys": ["a"], **SPAN}
    error = StorageReadError("no answer", key="posts/log/1", cause=ConnectionError("refused"))
    get_logger("storage.test").warning("read %s failed", "log/1", extra=extra | {"error": error})


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_real_collector_receives_a_record_with_its_span_its_fields_and_its_error(collector, protocol, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    service = f"logs over {protocol}"
    export = export_logs(service_name=service)
    log_once()
    export.shutdown(10)
    collector.logs(service, lambda got: len(got) >= 1)
    [received] = collector.all("logs", service)
    record, attributes = received.body, attributes_of(received.body)
    assert received.scope == "parquedb.storage.test"
    assert record.body.string_value == "read log/1 failed"
    assert (record.severity_text, record.severity_number) == ("WARNING", 13)
    assert (record.trace_id.hex(), record.span_id.hex()) == ("1" * 32, "2" * 16)
    assert record.event_name == "storage.failed"
    assert abs(record.time_unix_nano / 1e9 - time.time()) < 60
    assert '"refused"' in attributes.pop("parquedb.error")
    assert attributes == {
        "db.namespace": "posts",
        "parquedb.rows": 3,
        "parquedb.keys": '["a"]',
        "error.type": "StorageReadError",
        "db.response.status_code": "STORAGE_READ_ERROR",
        "exception.type": "StorageReadError",
        "exception.message": "no answer",
    }


def test_a_record_that_nobody_closed_for_is_sent_at_exit(collector):
    program = (
        "from parquedb.observability.otel.log_records import export_logs\n"
        "from tests.observability.otel.test_log_records import log_once\n"
        "export_logs(service_name='exiting logger')\n"
        "log_once()\n"
    )
    environ = OTEL_FREE | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint, "PYTHONPATH": IMPORTS}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ, timeout=60)
    assert len(collector.logs("exiting logger", lambda got: len(got) >= 1)) == 1


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("silent", [False, True], ids=["nobody listens", "nobody answers"])
def test_a_dead_collector_delays_neither_a_record_nor_the_end(protocol, silent, black_hole, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", black_hole if silent else f"http://127.0.0.1:{free_port()}")
    export = export_logs()
    started_s = time.monotonic()
    log_once()
    assert time.monotonic() - started_s < 0.5
    started_s = time.monotonic()
    export.shutdown()
    assert time.monotonic() - started_s < SHUTDOWN_S + 0.3
    export.shutdown()
    assert time.monotonic() - started_s < SHUTDOWN_S + 0.3
    assert export.handler not in get_logger().handlers


def test_a_program_with_a_dead_collector_exits_in_time():
    program = (
        "import time\n"
        "from parquedb.observability.otel.log_records import export_logs\n"
        "from tests.observability.otel.test_log_records import log_once\n"
        "export_logs()\n"
        "log_once()\n"
        "print(time.time(), flush=True)\n"
    )
    environ = OTEL_FREE | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "PYTHONPATH": IMPORTS}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environ, timeout=60, capture_output=True, text=True
    )
    # Half a second for the interpreter itself.
    assert time.time() - float(done.stdout) < SHUTDOWN_S + 0.5


def test_what_sending_logs_itself_is_not_sent(memory):
    handler = OpenTelemetryLogHandler()
    for name in ("opentelemetry.sdk._logs", "urllib3.connectionpool", "grpc._channel", "requests"):
        handler.handle(logging.LogRecord(name, logging.ERROR, __file__, 1, "no connection", None, None))
        get_logger().handle(logging.LogRecord(name, logging.ERROR, __file__, 1, "no connection", None, None))
    assert memory.get_finished_logs() == ()


def test_an_exporter_that_logs_below_our_tree_does_not_feed_itself():
    class Chatty(InMemoryLogRecordExporter):
        def export(self, batch):
            get_logger("storage.test").warning("sending")
            return super().export(batch)

    exporter, provider = Chatty(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    export = export_logs(provider)
    log_once()
    export.shutdown()
    assert [one.log_record.body for one in exporter.get_finished_logs()] == ["read log/1 failed"]


def test_repeats_are_sent_as_one_record(memory):
    for _ in range(30):
        get_logger("storage.test").warning("refused", extra=SPAN)
    memory.export_of_ours.handler.close()
    bodies = [one.log_record.body for one in memory.get_finished_logs()]
    assert bodies == [*["refused"] * 10, "repeated 20 times: refused"]


def test_secrets_are_gone_before_a_record_is_handed_over(memory):
    get_logger("storage.test").warning("got password=%s", "hunter2", extra={"url": "http://a:b@c"})
    [sent] = memory.get_finished_logs()
    assert sent.log_record.body == "got password=***"
    assert sent.log_record.attributes["parquedb.url"] == "http://***@c"


def test_a_global_provider_of_the_application_is_used_and_left_open(monkeypatch):
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", provider)
    export = export_logs(environ={"OTEL_LOGS_EXPORTER": "otlp"})
    log_once()
    export.shutdown()
    assert len(exporter.get_finished_logs()) == 1
    assert export.provider is None


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_LOGS_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "  "},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_nothing_is_set_up_unless_a_variable_asks_for_it(environ):
    before = list(get_logger().handlers)
    assert export_logs(environ=environ) is None
    assert get_logger().handlers == before


@pytest.mark.parametrize(
    ("environ", "setting", "message"),
    [
        ({"OTEL_LOGS_EXPORTER": "syslog"}, "OTEL_LOGS_EXPORTER", "expected some of otlp, console, none; got 'syslog'"),
        (
            {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
            "expected one of http/protobuf, grpc; got 'http/json'",
        ),
    ],
)
def test_a_variable_that_cannot_be_followed_is_named(environ, setting, message):
    with pytest.raises(ConfigurationError) as caught:
        export_logs(environ=environ)
    assert str(caught.value) == f"{setting}: {message}"
    assert caught.value.setting == setting
