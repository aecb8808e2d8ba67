"""The collector that tests use takes all three signals, and tells them apart by service."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from tests.support.collector import Collector, attributes_of, rotel_binary, running_collector, value_of

RESOURCE = Resource({"service.name": "all signals"})


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    if rotel_binary() is None:
        pytest.skip("the `rotel` wheel (a real OpenTelemetry collector) is not installed")
    with running_collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


def test_a_metric_arrives_with_its_resource_scope_and_points(collector: Collector) -> None:
    exporter = OTLPMetricExporter(endpoint=f"{collector.http_endpoint}/v1/metrics")
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], RESOURCE, shutdown_on_exit=False)
    provider.get_meter("the scope").create_counter("parquedb.operations").add(3, {"db.namespace": "posts"})
    provider.shutdown()
    (metric,) = collector.metrics("all signals", lambda got: got)
    (point,) = metric.sum.data_points
    assert (metric.name, point.as_int, attributes_of(point)) == ("parquedb.operations", 3, {"db.namespace": "posts"})
    (received,) = collector.all("metrics", "all signals")
    assert received.scope == "the scope"
    assert collector.all("metrics", "another service") == []


def test_a_log_record_arrives_with_its_body_and_attributes(collector: Collector) -> None:
    exporter = OTLPLogExporter(endpoint=f"{collector.http_endpoint}/v1/logs")
    provider = LoggerProvider(RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    attributes: dict[str, Any] = {"parquedb.rows": [1, 2]}
    provider.get_logger("the scope").emit(body="hello", severity_number=SeverityNumber.WARN, attributes=attributes)
    provider.shutdown()
    (record,) = collector.logs("all signals", lambda got: got)
    assert value_of(record.body) == "hello"
    assert attributes_of(record) == attributes
