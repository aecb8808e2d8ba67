"""Metrics held against the semantic conventions and against our own documented instruments (`docs/metrics.md`)."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import opentelemetry.semconv.metrics.db_metrics as stable_metrics

from tests.support.collector import attributes_of
from tests.support.conventions import DOCS, attribute_violations

_ROW = re.compile(r"^\| `(?P<name>[a-z_.]+)` \| (?P<kind>histogram|counter|gauge) \| (?P<unit>\S+) \|", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_UNIT = re.compile(r"s|By|1|\{[a-z]+\}")
_KINDS = {"histogram": "histogram", "sum": "counter", "gauge": "gauge"}


class DocumentedMetric(NamedTuple):
    """A row of the table of instruments."""

    kind: str
    unit: str


@cache
def documented_metrics() -> dict[str, DocumentedMetric]:
    """Return the instruments of the documentation, by name."""
    rows = _ROW.finditer((DOCS / "metrics.md").read_text())
    return {row["name"]: DocumentedMetric(row["kind"], row["unit"].strip("`")) for row in rows}


def metric_violations(metric: Any) -> Iterable[str]:
    """Say what is wrong with a metric of ours (protobuf); nothing when it conforms."""
    name, kind = metric.name, _KINDS.get(metric.WhichOneof("data"), "nothing we make")
    described = documented_metrics().get(name)
    if described is None:
        yield f"{name} is not documented in docs/metrics.md"
    elif described != (kind, metric.unit):
        yield f"{name} is a {kind} in {metric.unit}, documented as {described.kind} in {described.unit}"
    standard = {value for value in vars(stable_metrics).values() if isinstance(value, str)}
    if not name.startswith("parquedb.") and name not in standard:
        yield f"{name} is no metric of the conventions"
    if not _NAME.fullmatch(name) or name.endswith((".total", "_total")) or not _UNIT.fullmatch(metric.unit):
        yield f"{name} in {metric.unit} is not named as the rules want it"
    if not metric.description.endswith("."):
        yield f"{name} has no description"
    for point in getattr(metric, metric.WhichOneof("data")).data_points:
        told = attributes_of(point)
        yield from (f"{name}: {each}" for each in attribute_violations(told, "metric", "metrics.md"))
        if name == stable_metrics.DB_CLIENT_OPERATION_DURATION:
            missing = {"db.system.name", "db.namespace", "db.collection.name", "db.operation.name"} - told.keys()
            yield from (f"{name}: {each} is missing" for each in sorted(missing))
        if kind == "histogram" and sum(point.bucket_counts) != point.count:
            yield f"{name}: its buckets hold {sum(point.bucket_counts)} of {point.count}"
