"""Metrics reach a real collector by both protocols; a lost one costs only the metrics."""

import os
import socket
import subprocess
import sys
import time

import pytest

from parquedb.errors import ConfigurationError
from parquedb.observability.metrics.measures import HookMetrics, OwnerGauges
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.metrics.tally import Tally
from parquedb.observability.otel.exporters import SHUTDOWN_S
from parquedb.observability.otel.instruments import CONVENTIONAL_S, INSTRUMENTS
from parquedb.observability.otel.metric_export import configure_metrics
from tests.support.collector import free_port, rotel_binary, running_collector
from tests.support.metric_conventions import metric_violations

IMPORTS = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()]))
OTEL_FREE = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


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


def a_bit_of_everything() -> Tally:
    tally = Tally()
    for took_s in (0.0005, 0.15, 3.0):
        tally.series("mutation", "create", "posts", "client").add_call(took_s, rows=1, size=100)
    tally.series("mutation", "create", "posts", "client").add_call(0.2, count=2, errors={"AlreadyExistsError": 2})
    tally.series("query", "get", "posts", "actor").add_call(0.15, count=64, rows=64)
    tally.series("storage", "create", "posts", "actor").add_call(0.004, errors={"NetworkError": 1})
    tally.series("commit", "write", "posts", "actor").add_call(0.004, rows=64, size=4096)
    tally.cold_start("posts", 0.3)
    tally.flush("posts", "rows")
    tally.compaction("posts")
    tally.refused("posts")
    tally.cached("posts", hits=3, misses=1)
    tally.circuit("posts", "s3.write", "open")
    return tally


def everything() -> MetricsSnapshot:
    now = MetricsSnapshot(
        owners={"posts": OwnerGauges(3, 300, 0.5)}, hooks={"m.Hook": HookMetrics(1, 2)}, logs_dropped=4, spans_dropped=5
    )
    return MetricsSnapshot.merge(a_bit_of_everything().taken(), now)


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


def told(point):
    return {one.key: one.value.string_value for one in point.attributes}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_real_collector_receives_every_instrument_as_the_conventions_want_it(collector, protocol, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    service = f"counting over {protocol}"
    sender = configure_metrics(service_name=service)
    sender.add(everything)
    sender.shutdown(10)
    wanted = {one.name for one in INSTRUMENTS}
    got = by_name(collector.metrics(service, lambda got: {one.name for one in got} >= wanted))
    assert got.keys() == wanted
    assert [each for metric in got.values() for each in metric_violations(metric)] == []
    [failed, well] = got["db.client.operation.duration"].histogram.data_points
    assert told(failed)["error.type"] == "AlreadyExistsError"
    assert (failed.count, well.count) == (2, 3)
    assert told(well) == {
        "db.system.name": "parquedb",
        "db.namespace": "posts",
        "db.collection.name": "posts",
        "db.operation.name": "create",
    }
    assert tuple(well.explicit_bounds) == CONVENTIONAL_S
    assert list(well.bucket_counts) == [1, 0, 0, 0, 0, 1, 0, 1, 0, 0]
    assert well.sum == pytest.approx(3.1505)
    states = got["parquedb.circuit.state"].gauge.data_points
    assert {told(one)["parquedb.circuit.state"]: one.as_double or one.as_int for one in states} == {
        "closed": 0,
        "half_open": 0,
        "open": 1,
    }


def test_counts_are_sent_again_and_again_and_stay_when_their_source_has_ended(collector, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.http_endpoint}/v1/metrics")
    sender = configure_metrics(service_name="steady")
    remove = sender.add(everything)

    def flushes(got):
        return [one for one in got if one.name == "parquedb.flushes"]

    collector.metrics("steady", lambda got: len(flushes(got)) >= 3)
    remove()
    remove()
    sender.add(everything)
    got = collector.metrics("steady", lambda got: any(one.sum.data_points[0].as_int == 2 for one in flushes(got)))
    counts = [one.sum.data_points[0].as_int for one in flushes(got)]
    assert counts == sorted(counts)
    assert all(one.sum.is_monotonic for one in flushes(got))
    sender.shutdown(10)


def test_metrics_of_a_program_that_just_ends_are_sent(collector):
    program = (
        "from parquedb.observability.otel.metric_export import export_metrics\n"
        "from tests.observability.otel.test_metric_export import everything\n"
        "export_metrics(everything)\n"
    )
    environ = OTEL_FREE | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
        "OTEL_SERVICE_NAME": "brief",
        "PYTHONPATH": IMPORTS,
    }
    subprocess.run([sys.executable, "-c", program], check=True, env=environ, timeout=60)
    assert by_name(collector.metrics("brief", len))["parquedb.compactions"].sum.data_points[0].as_int == 1


@pytest.fixture(params=["refuses", "never answers"])
def lost_endpoint(request):
    if request.param == "refuses":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_lost_collector_delays_shutdown_by_no_more_than_its_bound(lost_endpoint, protocol, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", lost_endpoint)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    sender = configure_metrics()
    started_s = time.monotonic()
    remove = sender.add(everything)
    remove()
    assert time.monotonic() - started_s < 0.5
    started_s = time.monotonic()
    sender.shutdown()
    sender.shutdown()
    assert time.monotonic() - started_s < SHUTDOWN_S + 0.3


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, "OTEL_METRICS_EXPORTER: expected some of otlp, console, none"),
        (
            {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: expected one of http/protobuf, grpc; got 'http/json'",
        ),
        (
            {"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "soon"},
            "OTEL_METRIC_EXPORT_INTERVAL: expected a number of milliseconds above 0; got 'soon'",
        ),
    ],
)
def test_a_variable_that_cannot_be_followed_is_named(environ, message):
    with pytest.raises(ConfigurationError, match=message):
        configure_metrics(environ=environ)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_nothing_is_sent_unless_a_variable_asks_for_it(environ):
    assert configure_metrics(environ=environ) is None
