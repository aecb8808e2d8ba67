"""Telemetry held against the semantic conventions and against our own documented names.

What is standard is read from the `opentelemetry-semantic-conventions` wheel, and what is ours from the tables in
`docs/`: a row is `| name | type | where | meaning |`. The wheel knows names, their stability, deprecations and the
values of enumerations; types of standard attributes stand in our table as well.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv.schemas import Schemas

from tests.support.collector import Received, attributes_of

DOCS = Path(__file__).parents[2] / "docs"
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "bool": (bool,),
    "double": (float, int),
    "string[]": (list,),
}
REQUIRED = {
    "call": {"db.system.name", "db.namespace", "db.collection.name", "db.operation.name"},
    "commit": {"db.system.name", "db.namespace", "db.operation.name", "parquedb.commit.kind", "parquedb.commit.writes"},
    "attempt": {"db.system.name", "db.namespace", "db.collection.name", "db.operation.name", "parquedb.attempt"},
    "background": {"db.system.name", "db.namespace", "db.operation.name"},
    "storage": {"parquedb.storage.operation", "parquedb.storage.backend", "parquedb.storage.key"},
}
RESOURCE_REQUIRED = {
    "service.name",
    "service.instance.id",
    "telemetry.sdk.name",
    "telemetry.sdk.language",
    "telemetry.sdk.version",
    "host.name",
    "process.pid",
    "parquedb.process.role",
}
EVENTS = {
    "parquedb.circuit_change": dict.fromkeys(
        ("parquedb.circuit", "parquedb.circuit.before", "parquedb.circuit.after"), "string"
    ),
}
_ROW = re.compile(r"^\| `(?P<name>[a-z0-9_.]+)` \| (?P<type>[a-z\[\]]+) \| (?P<where>[a-z, ]+) \| ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Standard:
    """A standard attribute.

    Attributes:
        stable: Whether its name will stay.
        deprecated: Whether another one replaces it.
    """

    stable: bool
    deprecated: bool


@cache
def standard_attributes() -> dict[str, Standard]:
    """Return all attributes that the wheel knows, by name."""
    found: dict[str, Standard] = {}
    for package, is_stable in ((incubating, False), (stable, True)):
        for module in _modules(package):
            for name, words in _constants(module):
                deprecated = words.lstrip().startswith("Deprecated") and not is_stable
                found[name] = Standard(is_stable, deprecated)
    return found


@cache
def schema_urls() -> frozenset[str]:
    """Return the addresses of all versions of the conventions that the wheel knows."""
    return frozenset(each.value for each in Schemas)


@dataclass(frozen=True, slots=True)
class Documented:
    """An attribute of a table in the documentation.

    Attributes:
        type: A key of `TYPES`.
        where: Kinds of spans, `resource`, or `any`; for metrics and log records what their table says.
    """

    type: str
    where: frozenset[str]


@cache
def documented(page: str = "tracing.md") -> dict[str, Documented]:
    """Return the attributes of a page's tables, by name."""
    path = DOCS / page
    rows = _ROW.finditer(path.read_text()) if path.exists() else ()
    return {
        row["name"]: Documented(row["type"], frozenset(word.strip() for word in row["where"].split(",")))
        for row in rows
    }


def attribute_violations(attributes: Mapping[str, Any], where: str, page: str = "tracing.md") -> Iterable[str]:
    """Say what is wrong with attributes: unknown, deprecated, of another type, out of place, or empty."""
    ours, standard = documented(page), standard_attributes()
    for name, value in attributes.items():
        if not name.startswith("parquedb.") and (name not in standard or standard[name].deprecated):
            yield f"{name} is no attribute of the conventions, or a deprecated one"
        described = ours.get(name)
        if described is None:
            yield f"{name} is not documented in docs/{page}"
            continue
        if type(value) not in TYPES[described.type]:
            yield f"{name} is a {type(value).__name__}, documented as {described.type}"
        if not described.where & {where, "any"}:
            yield f"{name} is on a {where}, documented for {', '.join(sorted(described.where))}"
        if value in ("", None):
            yield f"{name} is empty"


def kind_of(span: Any) -> str:
    """Return what a span of ours is: `call`, `attempt`, `commit`, `storage` or `background`."""
    first = span.name.partition(" ")[0]
    if span.name.startswith("storage."):
        return "storage"
    if span.kind != Span.SPAN_KIND_INTERNAL:
        return "call"  # Somebody's question to flush has the name of the flush.
    if span.name.endswith(" attempt"):
        return "attempt"
    return "commit" if first == "commit" else "background"


def span_violations(received: Received) -> list[str]:
    """Say what is wrong with a span of ours (protobuf), its resource included; nothing when it conforms."""
    span, kind = received.body, kind_of(received.body)
    attributes = attributes_of(span)
    found = [f"resource: {each}" for each in resource_violations(received.resource)]
    found += attribute_violations(attributes, kind)
    found += [f"{name} is missing" for name in sorted(REQUIRED[kind] - attributes.keys())]
    role = received.resource.get("parquedb.process.role")
    found += _naming(span, kind, attributes, role)
    found += _failing(span, kind, attributes)
    if received.scope != "parquedb":
        found.append(f"scope {received.scope!r}")
    if span.end_time_unix_nano < span.start_time_unix_nano:
        found.append("it ends before it starts")
    if len(span.links) > 128 or span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
        found.append("something was dropped")
    for event in span.events:
        told = attributes_of(event)
        known = EVENTS.get(event.name, {})
        if told.keys() != known.keys() or any(type(told[name]) not in TYPES[known[name]] for name in told):
            found.append(f"event {event.name} with {told}")
    return [f"{span.name}: {each}" for each in found]


def resource_violations(resource: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the attributes of a resource of ours."""
    required = set(RESOURCE_REQUIRED)
    if resource.get("parquedb.process.role") == "owner":
        required |= {"parquedb.namespace", "parquedb.node.id", "parquedb.actor.id"}
    found = [f"{name} is missing" for name in sorted(required - resource.keys())]
    own = {name: value for name, value in resource.items() if name != "parquedb.namespace"}
    return found + list(attribute_violations(own, "resource"))


def _naming(span: Any, kind: str, attributes: Mapping[str, Any], role: str | None) -> Iterable[str]:
    if kind == "storage":
        name = f"storage.{attributes.get('parquedb.storage.operation')}"
        local = attributes.get("parquedb.storage.backend") in {"local", "memory"}
        kinds = {Span.SPAN_KIND_INTERNAL if local else Span.SPAN_KIND_CLIENT}
    else:
        # Conventions for database spans: `{db.operation.name} {target}`, the target being the collection.
        name = f"{attributes.get('db.operation.name')} {attributes.get('db.collection.name')}"
        name += " attempt" if kind == "attempt" else ""
        calls = {Span.SPAN_KIND_SERVER if role == "owner" else Span.SPAN_KIND_CLIENT}
        kinds = calls if kind == "call" else {Span.SPAN_KIND_INTERNAL}
    if span.name != name:
        yield f"its name should be {name!r}"
    if span.kind not in kinds:
        yield f"its kind is {Span.SpanKind.Name(span.kind)}"
    # "SHOULD NOT be set for non-batch operations", of which a batch of one is one.
    if attributes.get("db.operation.batch.size") == 1:
        yield "db.operation.batch.size is 1"


def _failing(span: Any, kind: str, attributes: Mapping[str, Any]) -> Iterable[str]:
    failed = span.status.code == Status.STATUS_CODE_ERROR
    # "SHOULD be set if and only if the operation failed"; a successful status is left unset by instrumentations.
    if failed != ("error.type" in attributes):
        yield f"status {span.status.code}, error.type {attributes.get('error.type')!r}"
    if span.status.code == Status.STATUS_CODE_OK:
        yield "status OK is the application's word"
    if failed and kind in {"call", "commit"} and "db.response.status_code" not in attributes:
        yield "it failed without db.response.status_code"


def _modules(package: ModuleType) -> Iterable[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{found.name}")


def _constants(module: ModuleType) -> Iterable[tuple[str, str]]:
    """Yield the value of each constant and the text that follows it."""
    body = ast.parse(Path(str(module.__file__)).read_text()).body
    for at, node in enumerate(body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        value = getattr(module, node.target.id)
        after = body[at + 1] if at + 1 < len(body) else None
        words = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        if isinstance(value, str) and not isinstance(value, Enum):
            yield value, str(words)
