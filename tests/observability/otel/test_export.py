"""Spans reach a real collector by both protocols; a dead one costs only the spans."""

import os
import subprocess
import sys
import time

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from parquedb.errors import ConfigurationError
from parquedb.observability.contexts import CommitContext, CommitResult, StorageResult, create_storage_context
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.export import SHUTDOWN_S, configure_tracing, otel_variables
from parquedb.observability.otel.lean_span import SpanTemplate
from parquedb.observability.otel.resource import process_resource
from parquedb.observability.otel.span_provider import LeanProvider, queue_limits
from parquedb.observability.otel.version import VERSION
from tests.support.collector import free_port, rotel_binary, running_collector

# Before the working directory comes whatever this run was told to import from: a built wheel, perhaps.
IMPORTS = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()]))
OTEL_FREE = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
WRITES = ("00-" + "1" * 32 + "-" + "1" * 16 + "-01", "00-" + "2" * 32 + "-" + "2" * 16 + "-01")


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


def commit_once(telemetry) -> None:
    registry = HookRegistry()
    registry.register_hook(telemetry.hook)
    commit = registry.start("commit", CommitContext("posts", position=9, writes=2, traceparents=WRITES))
    registry.start("storage", create_storage_context("create", "posts/log/9", backend="s3")).end(StorageResult())
    commit.end(CommitResult())
    assert registry.stats()[0].errors == {}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_real_collector_receives_the_commit_with_its_parent_its_link_and_its_put(collector, protocol, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    service = f"parquedb over {protocol}"
    telemetry = configure_tracing(service_name=service)
    commit_once(telemetry)
    telemetry.shutdown(10)
    spans = {span.name: span for span in collector.wait_for(2, service)}
    commit, put = spans["commit posts"], spans["storage.create"]
    assert commit.trace_id.hex() == "1" * 32
    assert commit.parent_span_id.hex() == "1" * 16
    assert [link.span_id.hex() for link in commit.links] == ["2" * 16]
    assert put.parent_span_id == commit.span_id
    attributes = {one.key: one.value for one in commit.attributes}
    assert attributes["db.system.name"].string_value == "parquedb"
    assert attributes["parquedb.commit.position"].int_value == 9


def test_a_span_that_nobody_closed_for_is_sent_at_exit(collector):
    program = (
        "from parquedb.observability.otel.export import configure_tracing\n"
        "from tests.observability.otel.test_export import commit_once\n"
        "commit_once(configure_tracing(service_name='exiting program'))\n"
    )
    environ = OTEL_FREE | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint, "PYTHONPATH": IMPORTS}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ, timeout=60)
    assert len(collector.wait_for(2, "exiting program")) == 2


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_dead_collector_delays_shutdown_by_no_more_than_its_bound(protocol, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    telemetry = configure_tracing()
    started_s = time.monotonic()
    commit_once(telemetry)
    assert time.monotonic() - started_s < 0.5
    started_s = time.monotonic()
    telemetry.shutdown()
    assert time.monotonic() - started_s < SHUTDOWN_S + 0.3
    telemetry.shutdown()
    assert time.monotonic() - started_s < SHUTDOWN_S + 0.3


def test_a_program_with_a_dead_collector_exits_in_time():
    program = (
        "import time\n"
        "from parquedb.observability.otel.export import configure_tracing\n"
        "from tests.observability.otel.test_export import commit_once\n"
        "commit_once(configure_tracing())\n"
        "print(time.time(), flush=True)\n"
    )
    environ = OTEL_FREE | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "PYTHONPATH": IMPORTS}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environ, timeout=60, capture_output=True, text=True
    )
    # Half a second for the interpreter itself.
    assert time.time() - float(done.stdout) < SHUTDOWN_S + 0.5


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "  "},
    ],
)
def test_nothing_is_set_up_unless_a_variable_asks_for_it(environ):
    assert configure_tracing(environ=environ) is None


@pytest.mark.parametrize(
    ("environ", "setting", "message"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER",
            "expected some of otlp, console, none; got 'zipkin'",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "expected one of http/protobuf, grpc; got 'http/json'",
        ),
    ],
)
def test_a_variable_that_cannot_be_followed_is_named(environ, setting, message):
    with pytest.raises(ConfigurationError) as caught:
        configure_tracing(environ=environ)
    assert str(caught.value) == f"{setting}: {message}"
    assert caught.value.setting == setting


def test_a_provider_that_the_caller_brings_is_used_and_left_open():
    provider = TracerProvider(shutdown_on_exit=False)
    telemetry = configure_tracing(provider, environ={})
    telemetry.shutdown()
    assert telemetry.provider is None
    assert provider.get_tracer("still open").start_span("one").is_recording()


def test_variables_that_travel_say_nothing_of_the_process_they_come_from(monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=7,team=red, process.pid=1,host.name=here")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    assert otel_variables() == {"OTEL_RESOURCE_ATTRIBUTES": "team=red", "OTEL_TRACES_SAMPLER": "always_on"}


def test_the_resource_names_service_instance_host_and_process_unless_the_environment_does(monkeypatch):
    resource = process_resource("shop").attributes
    assert (resource["service.name"], resource["service.version"]) == ("shop", VERSION)
    assert resource["process.pid"] == os.getpid()
    assert resource["service.instance.id"] == process_resource("shop").attributes["service.instance.id"]
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=7,service.name=till,host.name=elsewhere")
    resource = process_resource("shop").attributes
    assert (resource["service.name"], resource["service.instance.id"]) == ("till", "7")
    assert resource["host.name"] == "elsewhere"
    assert "service.version" not in resource


@pytest.mark.parametrize(("given", "used"), [("100", 100), ("", 8192), ("0", 8192), ("-5", 8192), ("many", 8192)])
def test_the_queue_is_as_long_as_the_environment_says(monkeypatch, given, used):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", given)
    assert queue_limits().spans_max == used
    assert queue_limits().batch_max <= used


@pytest.mark.parametrize(
    ("sampler", "sampled", "kept"),
    [("always_on", True, False), ("always_off", False, False), ("traceidratio", False, True), ("", True, False)],
)
def test_the_sampler_is_the_environments_and_only_shares_keep_what_they_leave_out(monkeypatch, sampler, sampled, kept):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler or "parentbased_always_on")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.0")
    provider = LeanProvider([], {}, "shop")
    span = provider.spans.begin(SpanTemplate("one", SpanKind.CLIENT, {}), Context())
    assert span.get_span_context().trace_flags.sampled == sampled
    assert span.is_recording() == (sampled or kept)
    provider.close(1.0)


def test_the_environments_service_name_wins_over_ours(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    telemetry = configure_tracing(service_name="parquedb", environ={"OTEL_TRACES_EXPORTER": "console"})
    assert telemetry.provider.resource.attributes["service.name"] == "shop"
    telemetry.shutdown()
