"""Each alert fires above its threshold and after its time, is silent below, and ends: as promtool sees it."""

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

import parquedb.errors
from parquedb.errors import ParqueDBError
from parquedb.observability.prometheus.alerts import alerts_yaml
from parquedb.observability.prometheus.exposition import FAULTS
from tests.support.alert_cases import Case, Series, counter, events, gauge, histogram
from tests.support.prometheus import Programs

ROOT = Path(__file__).resolve().parents[3]
RULES = Path(str(files("parquedb.observability.prometheus") / "alerts.yml"))
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}

POSTS = {"job": "parquedb", "namespace": "posts"}
CLIENT = {**POSTS, "side": "client"}
FIND = {"category": "query", "operation": "find", "namespace": "posts", "side": "client"}
UPDATE = {"category": "mutation", "operation": "update", "namespace": "posts", "side": "client"}
CREATE = {"category": "storage", "operation": "create", "namespace": "posts", "side": "actor"}
FOLLOW = {**FIND, "operation": "changes"}
MINUTE_S = 60


def failures(quiet: float, bad: float) -> list[Series]:
    """Make so many failures in 100 calls, beside many lost races and failures of storage that are not to count."""
    name = "parquedb_operation_errors_total"
    return [
        counter("parquedb_operations_total", 100, 100, **FIND),
        counter("parquedb_operations_total", 100, 100, **CREATE),
        counter(name, quiet, bad, **FIND, error_type="NetworkError"),
        counter(name, 50, 50, **FIND, error_type="VersionConflictError"),
        counter(name, 50, 50, **CREATE, error_type="NetworkError"),
    ]


def latency(bound: str, quiet: float, bad: float) -> list[Series]:
    """Make so many of 100 calls take no longer than `bound`; what takes long all the time is not to count.

    That is storage, and whoever follows changes.
    """
    name = "parquedb_operation_duration_seconds"
    unseen = [labels for others in (CREATE, FOLLOW) for labels in histogram(name, "10.0", 0, 0, **others)]
    return [*histogram(name, bound, quiet, bad, **FIND), *unseen]


def faults(kind: str) -> list[Series]:
    """Make one fault a step, seen by two exporters; beside it others, which are not to count."""
    name = "parquedb_faults_total"
    return [
        *(counter(name, 0, 1, namespace="posts", fault=kind, instance=instance) for instance in ("one", "two")),
        *(counter(name, 0, 0, namespace="posts", fault=fault, instance="one") for fault in [*FAULTS] if fault != kind),
    ]


CASES = [
    Case(
        "ParqueDBErrorRateHigh",
        "warning",
        CLIENT,
        failures(0.9, 1.1),
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="More than 1 % of the calls to posts fail",
        description="1.1% of the calls to namespace posts failed over 5 minutes, as seen by the client. Errors that "
        "only the caller can mend are not counted.",
    ),
    Case(
        "ParqueDBErrorRateCritical",
        "critical",
        CLIENT,
        failures(4.9, 5.1),
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="More than 5 % of the calls to posts fail",
        description="5.1% of the calls to namespace posts failed over 5 minutes, as seen by the client. Errors that "
        "only the caller can mend are not counted.",
    ),
    Case(
        "ParqueDBLatencyMedianHigh",
        "warning",
        CLIENT,
        latency("0.05", 51, 49),
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="Half of the calls to posts take more than 50 ms",
        description="The median of calls to namespace posts is 50.98ms, as seen by the client.",
    ),
    Case(
        "ParqueDBLatencyTailHigh",
        "warning",
        CLIENT,
        latency("0.2", 99.1, 98.9),
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="One call in a hundred to posts takes more than 200 ms",
        description="The 99th percentile of calls to namespace posts is 227.3ms, as seen by the client.",
    ),
    Case(
        "ParqueDBLatencyTailCritical",
        "critical",
        CLIENT,
        latency("2.0", 99.1, 98.9),
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="One call in a hundred to posts takes more than 2 s",
        description="The 99th percentile of calls to namespace posts is 2.273s, as seen by the client.",
    ),
    Case(
        "ParqueDBCacheHitRateLow",
        "warning",
        POSTS,
        [
            counter("parquedb_cache_requests_total", 61, 59, namespace="posts", result="hit"),
            counter("parquedb_cache_requests_total", 39, 41, namespace="posts", result="miss"),
        ],
        true_s=465,
        for_s=10 * MINUTE_S,
        resolved_s=15 * MINUTE_S,
        summary="The cache answers less than 60 % of what is asked of posts",
        description="59% of the reads of namespace posts found what they needed in the cache over 15 minutes; the "
        "others went to storage.",
    ),
    Case(
        "ParqueDBConflictStorm",
        "warning",
        CLIENT,
        [
            counter("parquedb_operations_total", 100, 100, **UPDATE),
            counter("parquedb_operation_errors_total", 49, 51, **UPDATE, error_type="VersionConflictError"),
            counter("parquedb_operation_errors_total", 40, 40, **UPDATE, error_type="EntityNotFoundError"),
            # Hardly anybody writes there.
            counter("parquedb_operations_total", 14, 14, **UPDATE | {"namespace": "quiet"}),
            counter(
                "parquedb_operation_errors_total",
                14,
                14,
                **UPDATE | {"namespace": "quiet", "error_type": "VersionConflictError"},
            ),
        ],
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="Most writes to posts lose a race",
        description="51% of the writes to namespace posts were refused over 5 minutes because the document had changed "
        "meanwhile, as seen by the client.",
    ),
    Case(
        "ParqueDBInternalErrors",
        "critical",
        POSTS,
        faults("internal"),
        true_s=15,
        for_s=0,
        resolved_s=5 * MINUTE_S + 15,
        summary="Code of ParqueDB fails",
        description="20 calls in 5 minutes ended with an error that only a bug explains, in namespace posts.",
    ),
    Case(
        "ParqueDBColdStartsFrequent",
        "warning",
        POSTS,
        [
            events("parquedb_cold_starts_total", 300, 225, namespace="posts", instance="one"),
            events("parquedb_cold_starts_total", 300, 225, namespace="posts", instance="two"),
            # The sum of many namespaces, each of which is opened now and then.
            events("parquedb_cold_starts_total", 15, 15, namespace="_other", instance="one"),
        ],
        true_s=225,
        for_s=MINUTE_S,
        resolved_s=15 * MINUTE_S,
        summary="Namespace posts is opened again and again",
        description="Namespace posts was opened 4 times in 15 minutes: its owner does not stay.",
    ),
    Case(
        "ParqueDBColdStartSlow",
        "warning",
        POSTS,
        histogram("parquedb_cold_start_duration_seconds", "5.0", 51, 49, namespace="posts"),
        true_s=465,
        for_s=0,
        resolved_s=15 * MINUTE_S,
        summary="Opening namespace posts takes more than 5 s",
        description="The median of the openings of namespace posts in the last 15 minutes is 5.098s; calls that come "
        "meanwhile wait for it.",
    ),
    Case(
        "ParqueDBCircuitOpen",
        "critical",
        {**POSTS, "circuit": "s3.write"},
        [
            # Half open for a moment each minute, to try.
            gauge("parquedb_circuit_state", 0, 1, lapse_every=3, namespace="posts", circuit="s3.write", state="open"),
            gauge("parquedb_circuit_state", 1, 0, namespace="posts", circuit="s3.write", state="closed"),
        ],
        true_s=0,
        for_s=MINUTE_S,
        resolved_s=135,
        summary="Circuit s3.write of posts is open",
        description="Circuit s3.write of namespace posts is open: its storage fails, and calls that need it are "
        "refused at once.",
    ),
    Case(
        "ParqueDBCommitLagHigh",
        "warning",
        POSTS,
        [gauge("parquedb_commit_lag_seconds", 5, 5.1, namespace="posts")],
        true_s=0,
        for_s=MINUTE_S,
        resolved_s=15,
        summary="Writes to posts wait for more than 5 s",
        description="The oldest write of namespace posts that is not durable yet has waited for 5.1s.",
    ),
    Case(
        "ParqueDBCommitLagCritical",
        "critical",
        POSTS,
        [gauge("parquedb_commit_lag_seconds", 30, 30.1, namespace="posts")],
        true_s=0,
        for_s=MINUTE_S,
        resolved_s=15,
        summary="Writes to posts wait for more than 30 s",
        description="The oldest write of namespace posts that is not durable yet has waited for 30.1s.",
    ),
    Case(
        "ParqueDBBackpressure",
        "warning",
        POSTS,
        [
            counter("parquedb_backpressure_total", 1.45, 1.55, namespace="posts", instance="one"),
            counter("parquedb_backpressure_total", 1.45, 1.55, namespace="posts", instance="two"),
        ],
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="Namespace posts refuses calls for want of room",
        description="The owner of namespace posts refused 0.1 calls a second over 5 minutes, because a queue was full.",
    ),
    Case(
        "ParqueDBStorageSlow",
        "warning",
        POSTS,
        histogram("parquedb_operation_duration_seconds", "0.5", 90.1, 89.9, **CREATE)
        # Calls may take as long as they like.
        + histogram("parquedb_operation_duration_seconds", "10.0", 0, 0, **FIND),
        true_s=165,
        for_s=5 * MINUTE_S,
        resolved_s=5 * MINUTE_S,
        summary="One storage request in ten of posts takes more than 500 ms",
        description="The 90th percentile of the storage requests of namespace posts is 505ms.",
    ),
    Case(
        "ParqueDBStorageFull",
        "critical",
        POSTS,
        faults("storage_full"),
        true_s=15,
        for_s=0,
        resolved_s=5 * MINUTE_S + 15,
        summary="The storage of posts has no room left",
        description="Storage refused 20 writes of namespace posts in 5 minutes because the disk or a quota is full.",
    ),
    Case(
        "ParqueDBCorruption",
        "critical",
        POSTS,
        faults("corruption"),
        true_s=15,
        for_s=0,
        resolved_s=15 * MINUTE_S + 15,
        summary="A stored object of posts is damaged",
        description="60 times in 15 minutes an object of namespace posts was missing, cut or altered; what needs it is "
        "refused.",
    ),
    Case(
        "ParqueDBTwoOwners",
        "warning",
        POSTS,
        faults("fenced"),
        true_s=15,
        for_s=0,
        resolved_s=15 * MINUTE_S + 15,
        summary="Namespace posts was taken from a living owner",
        description="60 calls in 15 minutes met an owner of namespace posts from which another one had taken it. It "
        "acknowledges nothing any more.",
    ),
    Case(
        "ParqueDBNodeLost",
        "warning",
        {"job": "parquedb"},
        [gauge("parquedb_nodes", 3, 2, instance="one"), gauge("parquedb_nodes", 3, 2, instance="two")],
        true_s=0,
        for_s=MINUTE_S,
        resolved_s=15,
        summary="A node of the Ray cluster is gone",
        description="1 fewer nodes are alive than within the last hour. Owners that were there start on others.",
    ),
    Case(
        "ParqueDBOwnersUnreachable",
        "warning",
        {"job": "parquedb"},
        [gauge("parquedb_owners_unreachable", 0, 1, instance="one")],
        true_s=0,
        for_s=2 * MINUTE_S,
        resolved_s=15,
        summary="Owners of namespaces do not answer",
        description="Owners that did not tell their metrics in time: 1. What is shown of them is old.",
    ),
    Case(
        "ParqueDBTargetDown",
        "critical",
        {"job": "parquedb", "instance": "one"},
        [gauge("up", 1, 0, instance="one")],
        true_s=0,
        for_s=2 * MINUTE_S,
        resolved_s=15,
        summary="one cannot be scraped",
        description="Prometheus gets no metrics from one of job parquedb: the process is gone, cannot be reached, or "
        "cannot reach its Ray cluster.",
    ),
    Case(
        "ParqueDBAbsent",
        "critical",
        {},
        [gauge("parquedb_exporter_info", 1, None, instance="one")],
        true_s=5 * MINUTE_S,  # Prometheus looks back as far as that.
        for_s=5 * MINUTE_S,
        resolved_s=15,
        summary="Nothing of ParqueDB is being scraped",
        description="Prometheus holds no metrics of any ParqueDB, so no other alert can fire.",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_keeps_to_its_threshold_and_its_time(case: Case, programs: Programs, tmp_path: Path) -> None:
    runbook_url = ALERTS[case.alert]["annotations"]["runbook_url"]
    tests = tmp_path / "tests.json"  # JSON is YAML.
    tests.write_text(json.dumps(case.promtool_tests(str(RULES), runbook_url)))
    verdict = programs.check("test", "rules", tests)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_every_alert_has_its_test() -> None:
    assert [case.alert for case in CASES] == list(ALERTS)


def test_the_rules_are_what_prometheus_takes(programs: Programs) -> None:
    verdict = programs.check("check", "rules", RULES)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), flags=re.MULTILINE)
    assert name in headings


def test_only_errors_that_the_caller_can_mend_are_left_out_of_the_error_rate() -> None:
    (rule,) = [each for each in GROUPS[0]["rules"] if each["record"] == "parquedb:operation_errors:ratio_rate5m"]
    (left_out,) = re.findall(r'error_type!~"([^"]+)"', rule["expr"])
    kinds = {
        kind.__name__: kind.default_code
        for kind in vars(parquedb.errors).values()
        if isinstance(kind, type) and issubclass(kind, ParqueDBError)
    }
    callers = {name for name, code in kinds.items() if 400 <= code.http_status < 500 and not code.retryable}
    assert {name for name in kinds if re.fullmatch(left_out, name)} == callers | {"CancelledError_"}
    assert not re.fullmatch(left_out, "OSError")


def test_rules_at_their_own_speed_are_those_that_are_shipped() -> None:
    assert alerts_yaml() == RULES.read_text()


def test_faster_rules_differ_in_windows_and_waits_alone(programs: Programs, tmp_path: Path) -> None:
    faster = alerts_yaml(60)
    assert "[5s]" in faster
    assert "for: 5s" in faster
    assert "[1m]" in faster  # Of an hour.
    spans = re.compile(r"\[\w+\]|\bfor: \w+")
    assert spans.sub("", faster) == spans.sub("", RULES.read_text())
    assert not {*spans.findall(faster)} & {"[5m]", "[15m]", "[2m]", "for: 5m", "for: 2m", "for: 10m"}
    (tmp_path / "faster.yml").write_text(faster)
    verdict = programs.check("check", "rules", tmp_path / "faster.yml")
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize("factor", [0, 7, 120])
def test_a_factor_that_leaves_no_whole_seconds_is_refused(factor: int) -> None:
    with pytest.raises(ValueError, match="expected a divisor"):
        alerts_yaml(factor)
