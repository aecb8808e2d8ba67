"""What Prometheus reads is what was counted, under the names that dashboards and alerts are written against."""

import subprocess
from dataclasses import replace

import pytest
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from parquedb.observability.metrics.snapshot import (
    BUCKETS_S,
    MetricsSnapshot,
    OperationKey,
    OperationMetrics,
    OwnerGauges,
)
from parquedb.observability.prometheus import content_type, render
from tests.observability.prometheus.recorded import SNAPSHOT
from tests.support.prometheus import Programs

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
FIND = {"category": "query", "operation": "find", "namespace": "posts", "side": "client"}
POSTS = {"namespace": "posts"}
CIRCUIT = {**POSTS, "circuit": "s3.write"}

Key = tuple[str, frozenset[tuple[str, str]]]

EXPECTED = [
    ("parquedb_operations_total", FIND, 7),
    ("parquedb_operation_errors_total", {**FIND, "error_type": "NetworkError"}, 2),
    ("parquedb_operation_errors_total", {**FIND, "error_type": "InvalidFilterError"}, 1),
    ("parquedb_operation_duration_seconds_bucket", {**FIND, "le": "0.05"}, 3),
    ("parquedb_operation_duration_seconds_bucket", {**FIND, "le": "+Inf"}, 7),
    ("parquedb_operation_duration_seconds_count", FIND, 7),
    ("parquedb_operation_duration_seconds_sum", FIND, 1.5),
    ("parquedb_operation_rows_total", FIND, 41),
    ("parquedb_operation_bytes_total", FIND, 4096),
    ("parquedb_cache_requests_total", {**POSTS, "result": "hit"}, 30),
    ("parquedb_cache_requests_total", {**POSTS, "result": "miss"}, 10),
    ("parquedb_cold_starts_total", POSTS, 2),
    ("parquedb_cold_start_duration_seconds_bucket", {**POSTS, "le": "0.1"}, 1),
    ("parquedb_cold_start_duration_seconds_sum", POSTS, 0.5),
    ("parquedb_flushes_total", {**POSTS, "reason": "rows"}, 2),
    ("parquedb_flushes_total", {**POSTS, "reason": "age"}, 1),
    ("parquedb_compactions_total", POSTS, 4),
    ("parquedb_commit_lag_seconds", POSTS, 0.75),
    ("parquedb_queue_depth", POSTS, 5),
    ("parquedb_queue_bytes", POSTS, 640),
    ("parquedb_backpressure_total", POSTS, 9),
    ("parquedb_circuit_state", {**CIRCUIT, "state": "open"}, 1),
    ("parquedb_circuit_state", {**CIRCUIT, "state": "half_open"}, 0),
    ("parquedb_circuit_state", {**CIRCUIT, "state": "closed"}, 0),
    ("parquedb_circuit_transitions_total", {**CIRCUIT, "to": "open"}, 2),
    ("parquedb_circuit_transitions_total", {**CIRCUIT, "to": "closed"}, 0),
    ("parquedb_hook_errors_total", {"hook": "audit.Hook"}, 1),
    ("parquedb_hook_dropped_total", {"hook": "audit.Hook"}, 2),
    ("parquedb_logs_dropped_total", {}, 11),
    ("parquedb_telemetry_dropped_total", {}, 12),
    ("parquedb_metrics_namespaces_merged", {}, 6),
    ("parquedb_owners_unreachable", {}, 1),
    ("parquedb_nodes", {}, 3),
    # Of the store; what a caller's own bound refused is no fault.
    ("parquedb_faults_total", {**POSTS, "fault": "storage_full"}, 2),
    ("parquedb_faults_total", {**POSTS, "fault": "internal"}, 0),
    ("parquedb_faults_total", {**POSTS, "fault": "corruption"}, 0),
    ("parquedb_faults_total", {**POSTS, "fault": "fenced"}, 0),
]


def samples(snapshot: MetricsSnapshot, accept: str = "") -> dict[Key, float]:
    """Return what a reader of the format finds, by name and labels; each may stand there once."""
    parser = openmetrics_parser if accept else text_parser
    found: dict[Key, float] = {}
    for family in parser.text_string_to_metric_families(render(snapshot, accept).decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_every_metric_is_there_with_its_labels_and_its_value(accept: str) -> None:
    found = samples(SNAPSHOT, accept)
    assert {key: found.get(key) for key in ((name, frozenset(labels.items())) for name, labels, _ in EXPECTED)} == {
        (name, frozenset(labels.items())): value for name, labels, value in EXPECTED
    }
    assert {name for name, _ in found} - {name for name, _, _ in EXPECTED} == {
        "parquedb_exporter_info",
        "parquedb_cold_start_duration_seconds_count",
    }


def test_buckets_have_the_bounds_of_the_thresholds_and_end_with_all() -> None:
    bounds = [
        float(dict(labels)["le"])
        for name, labels in samples(SNAPSHOT)
        if name == "parquedb_operation_duration_seconds_bucket" and ("operation", "find") in labels
    ]
    assert bounds == [*BUCKETS_S, float("inf")]
    assert {0.05, 0.2, 2.0} <= set(bounds)


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_a_name_with_anything_in_it_comes_through(accept: str) -> None:
    name = 'quote " backslash \\ line\nbreak ümläut {le="1"}'
    snapshot = replace(SNAPSHOT, owners={name: OwnerGauges(queue_depth=3)})
    assert samples(snapshot, accept)["parquedb_queue_depth", frozenset({("namespace", name)})] == 3


def test_the_answer_says_in_which_format_it_is() -> None:
    assert content_type().startswith("text/plain; version=0.0.4")
    assert content_type(OPENMETRICS).startswith("application/openmetrics-text; version=1.0.0")
    assert render(SNAPSHOT, OPENMETRICS).endswith(b"# EOF\n")


def test_a_database_that_has_done_nothing_shows_its_help() -> None:
    text = render(MetricsSnapshot()).decode()
    assert "# TYPE parquedb_operation_duration_seconds histogram" in text
    assert "parquedb_logs_dropped_total 0.0" in text


def test_promtool_finds_nothing_to_mend(programs: Programs) -> None:
    verdict = subprocess.run(
        [programs.promtool, "check", "metrics"], input=render(SNAPSHOT), capture_output=True, check=False, timeout=30
    )
    assert (verdict.returncode, verdict.stdout + verdict.stderr) == (0, b"")


def test_a_hundred_namespaces_make_no_more_than_a_few_megabytes() -> None:
    operations = {
        OperationKey("mutation", operation, f"tenant-{number}", "actor"): OperationMetrics(count=1)
        for number in range(100)
        for operation in ("create", "update", "delete", "execute", "find")
    }
    assert len(render(replace(SNAPSHOT, operations=operations))) < 2e6
