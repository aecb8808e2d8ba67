"""The Grafana dashboard of ParqueDB, as code; `dashboard.json` beside it is what this makes.

Its expressions need no recording rules, so it works without `alerts.yml`. Owners are shown by every exporter of their
cluster, so what they say of themselves is a maximum over exporters, where a sum would count it twice.
"""

import json
from typing import Final

from parquedb.observability.prometheus.panels import (
    Json,
    Panel,
    Query,
    choice_variable,
    datasource_variable,
    label_variable,
    placed,
)

CALLERS_ERRORS: Final = (
    ".*NotFoundError|(Version)?ConflictError|AlreadyExistsError|ETagMismatchError|UniqueConstraintError|"
    "Invalid.+Error|ValidationError|SchemaMismatchError|PathTraversalError|RelationshipError|Query(Memory)?Error|"
    "AuthorizationError|AuthenticationRequiredError|PermissionDeniedError|TokenExpiredError|CancelledError_?"
)
"""Types of error that only the caller can mend, which alerts leave out, as a regular expression."""

_HERE: Final = 'job=~"$job",instance=~"$instance"'
_OWNER: Final = f'{_HERE},namespace=~"$namespace"'
_CALLS: Final = f'{_OWNER},category=~"query|mutation",side="$side"'
# Who follows changes waits on purpose until there is one.
_TIMED: Final = f'{_CALLS},operation!="changes"'

_RACES: Final = "(Version)?ConflictError|ETagMismatchError"
"""Errors of writes that somebody else has overtaken."""

_NOES: Final = "ObjectNotFoundError|AlreadyExistsError|ETagMismatchError"
"""Kinds of errors by which a store answers a question: counted like others, and nothing that fails."""


def dashboard_json() -> str:
    """Return the dashboard as Grafana imports it."""
    return json.dumps(dashboard(), indent=2) + "\n"


def dashboard() -> Json:
    """Return the dashboard as plain data."""
    return {
        "uid": "parquedb",
        "title": "ParqueDB",
        "description": "A document database on Ray actors and Parquet: calls, owners, storage. Thresholds are those of "
        "the alerts.",
        "tags": ["parquedb"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                datasource_variable(),
                label_variable("job", "Job", "parquedb_exporter_info"),
                label_variable("instance", "Exporter", 'parquedb_exporter_info{job=~"$job"}'),
                label_variable("namespace", "Namespace", f"parquedb_operations_total{{{_HERE}}}"),
                choice_variable("side", "Measured by", ("client", "actor")),
            ]
        },
        "panels": placed(
            [
                ("At a glance", _glance()),
                ("Calls", _calls()),
                ("Owners", _owners()),
                ("Storage", _storage()),
                ("What watches", _watchers()),
            ]
        ),
    }


def _rate(metric: str, by: str, selector: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"


def _owner_rate(metric: str, by: str) -> str:
    return f"max by ({by}) (rate({metric}{{{_OWNER}}}[$__rate_interval]))"


def _owner_gauge(metric: str) -> str:
    return f"max by (namespace) ({metric}{{{_OWNER}}})"


def _quantile(fraction: float, metric: str, by: str, selector: str) -> str:
    return f"histogram_quantile({fraction:g}, {_rate(f'{metric}_bucket', by, selector)})"


def _failing() -> str:
    faults = f'sum(rate(parquedb_operation_errors_total{{{_CALLS},error_type!~"{CALLERS_ERRORS}"}}[$__rate_interval]))'
    # Before the first fault there is no series of faults, which is as good as 0. No calls are no ratio.
    return f"({faults} or vector(0)) / (sum(rate(parquedb_operations_total{{{_CALLS}}}[$__rate_interval])) > 0)"


def _lost_races() -> str:
    writes = f'{_OWNER},category="mutation",side="$side"'
    lost = _rate("parquedb_operation_errors_total", "namespace", f'{writes},error_type=~"{_RACES}"')
    return f"{lost} / ({_rate('parquedb_operations_total', 'namespace', writes)} > 0)"


def _cache_hits(by: str) -> str:
    hits = _rate("parquedb_cache_requests_total", by, f'{_OWNER},result="hit"')
    return f"{hits} / ({_rate('parquedb_cache_requests_total', by, _OWNER)} > 0)"


_DURATION: Final = "parquedb_operation_duration_seconds"
_LAG: Final = _owner_gauge("parquedb_commit_lag_seconds")
_LAG_MEANS: Final = "Age of the oldest write that is not durable."
_OPENINGS: Final = f"max by (namespace) (increase(parquedb_cold_starts_total{{{_OWNER}}}[$__rate_interval]))"
_CALLS_SEEN: Final = "Of the side chosen above: `client` is the exporter's own process, `actor` all callers."
_FAULTS_ONLY: Final = "Without errors that only the caller can mend."


def _glance() -> list[Panel]:
    def stat(title: str, description: str, expr: str, unit: str, *thresholds: float) -> Panel:
        return Panel(title, description, [Query(expr)], unit, "stat", thresholds, width=3, height=4)

    calls = f"sum(rate(parquedb_operations_total{{{_CALLS}}}[$__rate_interval]))"
    opened = f'sum(max by (namespace, circuit) (parquedb_circuit_state{{{_OWNER},state="open"}}))'
    return [
        stat("Calls", "Queries and mutations a second.", calls, "reqps"),
        stat("Failing", "Without errors that only the caller can mend.", _failing(), "percentunit", 0.01, 0.05),
        stat("Median", "Half of the calls take no longer.", _quantile(0.5, _DURATION, "le", _TIMED), "s", 0.05),
        stat("99th percentile", "One call in 100 is longer.", _quantile(0.99, _DURATION, "le", _TIMED), "s", 0.2, 2),
        stat("Cache hits", "Reads that need no storage.", _cache_hits("job"), "percentunit", 0.6, 0.3),
        stat("Open circuits", "Stores that are not asked any more.", opened, "short", 1),
        stat("Commit lag", "Age of the oldest write that is not durable.", f"max({_LAG})", "s", 5, 30),
        stat("Silent owners", "Of the last scrape.", f"max(parquedb_owners_unreachable{{{_HERE}}})", "short", 1),
    ]


def _calls() -> list[Panel]:
    by_operation = _rate("parquedb_operations_total", "operation", _CALLS)
    by_type = _rate("parquedb_operation_errors_total", "error_type", _CALLS)
    tail = _quantile(0.99, _DURATION, "namespace, le", _TIMED)
    quantiles = [Query(_quantile(part, _DURATION, "le", _TIMED), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99)]
    rows = _rate("parquedb_operation_rows_total", "operation", _CALLS)
    faults = f"max by (namespace, fault) (increase(parquedb_faults_total{{{_OWNER}}}[$__rate_interval]))"
    return [
        Panel("Calls by operation", _CALLS_SEEN, [Query(by_operation, "{{operation}}")], "reqps"),
        Panel("Failures by type", "All, also lost races and bad filters.", [Query(by_type, "{{error_type}}")], "reqps"),
        Panel("Failing calls", _FAULTS_ONLY, [Query(_failing(), "failing")], "percentunit", thresholds=(0.01, 0.05)),
        Panel("Latency", "Of all namespaces chosen.", quantiles, "s", thresholds=(0.2, 2)),
        Panel("99th percentile", "By namespace.", [Query(tail, "{{namespace}}")], "s", thresholds=(0.2, 2)),
        Panel(
            "Calls by duration",
            "How many a second took how long.",
            [Query(_rate(f"{_DURATION}_bucket", "le", _TIMED), "{{le}}")],
            "reqps",
            "heatmap",
        ),
        Panel("Documents", "Read or written, a second.", [Query(rows, "{{operation}}")], "cps"),
        Panel(
            "Lost races",
            "Writes refused because the document had changed meanwhile, of all writes.",
            [Query(_lost_races(), "{{namespace}}")],
            "percentunit",
            thresholds=(0.5,),
        ),
        Panel(
            "Faults",
            "Each is worth a look: a bug, a damaged object, an owner that was fenced, a store without room.",
            [Query(faults, "{{namespace}}: {{fault}}")],
        ),
    ]


def _owners() -> list[Panel]:
    commits = f'{_OWNER},category="commit"'
    per_namespace = "{{namespace}}"
    openings = _quantile(0.5, "parquedb_cold_start_duration_seconds", "namespace, le", _OWNER)
    return [
        Panel("Commit lag", _LAG_MEANS, [Query(_LAG, per_namespace)], "s", thresholds=(5, 30)),
        Panel(
            "Commits",
            "Log entries a second; each carries the writes that gathered meanwhile.",
            [Query(_rate("parquedb_operations_total", "namespace", commits), per_namespace)],
            "ops",
        ),
        Panel(
            "Commit latency",
            "99th percentile, until an entry is durable.",
            [Query(_quantile(0.99, _DURATION, "namespace, le", commits), per_namespace)],
            "s",
        ),
        Panel("Queue", "Writes that wait.", [Query(_owner_gauge("parquedb_queue_depth"), per_namespace)]),
        Panel("Queue size", "Of those.", [Query(_owner_gauge("parquedb_queue_bytes"), per_namespace)], "bytes"),
        Panel(
            "Backpressure",
            "Calls refused for want of room.",
            [Query(_owner_rate("parquedb_backpressure_total", "namespace"), per_namespace)],
            "reqps",
            thresholds=(0.1,),
        ),
        Panel(
            "Cold starts",
            "Openings of a namespace, in the time shown by one point.",
            [Query(_OPENINGS, per_namespace)],
        ),
        Panel("Opening takes", "The median.", [Query(openings, per_namespace)], "s", thresholds=(5,)),
        Panel(
            "Flushes and merges",
            "To Parquet, by what made them due; and merges of data files.",
            [
                Query(_owner_rate("parquedb_flushes_total", "namespace, reason"), "{{namespace}}: {{reason}}"),
                Query(_owner_rate("parquedb_compactions_total", "namespace"), "{{namespace}}: merge"),
            ],
            "ops",
        ),
    ]


def _storage() -> list[Panel]:
    storage = f'{_OWNER},category="storage"'
    requests = _rate("parquedb_operations_total", "operation", storage)
    errors = _rate("parquedb_operation_errors_total", "operation, error_type", f'{storage},error_type!~"{_NOES}"')
    size = _rate("parquedb_operation_bytes_total", "operation", storage)
    state = f'max by (namespace, circuit) (parquedb_circuit_state{{{_OWNER},state="%s"}})'
    changes = _owner_rate("parquedb_circuit_transitions_total", "namespace, circuit, to")
    return [
        Panel("Requests", "Attempts, repeats included.", [Query(requests, "{{operation}}")], "reqps"),
        Panel(
            "Request latency",
            "99th percentile of single attempts.",
            [Query(_quantile(0.99, _DURATION, "operation, le", storage), "{{operation}}")],
            "s",
        ),
        Panel(
            "Failed requests",
            "Each attempt; an answer such as `there is no such object` is none.",
            [Query(errors, "{{operation}}: {{error_type}}")],
            "reqps",
        ),
        Panel(
            "Slow requests",
            "90th percentile of single attempts, by namespace.",
            [Query(_quantile(0.9, _DURATION, "namespace, le", storage), "{{namespace}}")],
            "s",
            thresholds=(0.5,),
        ),
        Panel("Traffic", "Sent and received.", [Query(size, "{{operation}}")], "Bps"),
        Panel(
            "Cache hits",
            "Reads that found what they needed in memory.",
            [Query(_cache_hits("namespace"), "{{namespace}}")],
            "percentunit",
            thresholds=(0.6, 0.3),
            maximum=1,
        ),
        Panel(
            "Circuits",
            "0 closed, 1 half open, 2 open.",
            [Query(f"{state % 'half_open'} + 2 * {state % 'open'}", "{{namespace}} {{circuit}}")],
            kind="state-timeline",
            thresholds=(1, 2),
        ),
        Panel("Changes of circuits", "By new state.", [Query(changes, "{{namespace}} {{circuit}}: {{to}}")], "ops"),
    ]


def _watchers() -> list[Panel]:
    def lost(metric: str, by: str) -> str:
        return _rate(metric, by, _HERE)

    return [
        Panel(
            "Hooks",
            "Callbacks that raised, and those that were not run.",
            [
                Query(lost("parquedb_hook_errors_total", "hook"), "{{hook}}: raised"),
                Query(lost("parquedb_hook_dropped_total", "hook"), "{{hook}}: dropped"),
            ],
            "ops",
        ),
        Panel("Logs dropped", "Not kept.", [Query(lost("parquedb_logs_dropped_total", "instance"), "{{instance}}")]),
        Panel(
            "Spans dropped",
            "No room in the queue, or not taken by the collector.",
            [Query(lost("parquedb_telemetry_dropped_total", "instance"), "{{instance}}")],
        ),
        Panel(
            "Nodes",
            "Of the Ray cluster, alive.",
            [Query(f"max by (job) (parquedb_nodes{{{_HERE}}})", "{{job}}")],
        ),
        Panel(
            "Namespaces without numbers of their own",
            "Summed as `_other`, because there are so many.",
            [Query(f"max by (instance) (parquedb_metrics_namespaces_merged{{{_HERE}}})", "{{instance}}")],
        ),
    ]
