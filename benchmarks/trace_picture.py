"""`python -m benchmarks.trace_picture`: make one traced write, and draw it from what a real collector received.

Prints the tree of its spans and writes `docs/trace.svg`.
"""

import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import parquedb
from benchmarks.bench import Bench, end_actors
from parquedb.observability.otel.export import take_process_telemetry
from tests.support.collector import Collector, Received, running_collector

PICTURE = Path(__file__).parents[1] / "docs" / "trace.svg"
SERVICE = "shop"
CALLER = "POST /posts"
# Names and kinds: what a client asked for (3) and what an owner received (2) have one name.
_WANTED = {(CALLER, 1), ("create posts", 3), ("create posts", 2), ("commit posts", 1), ("storage.create", 3)}
_WIDTH, _ROW, _NAMES, _TIMES = 900, 30, 300, 90
_KINDS = {1: "internal", 2: "server", 3: "client"}
_COLOURS = {"client": "#3b76c4", "owner": "#c4673b"}


def main() -> None:
    """Make the trace and draw it."""
    with Bench(quick=True) as bench, running_collector(bench.scratch) as collector:
        bench.ray()
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.http_endpoint
        os.environ["OTEL_SERVICE_NAME"] = SERVICE
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "50"
        with parquedb.connect(**bench.place("s3")) as db:
            for number in range(20):  # Whatever is slow the first time is not what the picture is about.
                db["posts"].create({"n": number})
            received = traced_write(db, collector)
            end_actors(db.settings)
    lines = list(tree(received))
    print("\n".join(lines))
    PICTURE.write_text(svg(received))


def traced_write(db: parquedb.Database, collector: Collector) -> list[Received]:
    """Return the spans of one create, the application's own first."""
    telemetry = take_process_telemetry()
    if telemetry is None or telemetry.provider is None:
        raise RuntimeError("this process sends no spans; expected OTEL_EXPORTER_OTLP_ENDPOINT to make it")
    provider = TracerProvider(resource=telemetry.provider.resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    with provider.get_tracer("shop").start_as_current_span(CALLER) as own:
        db["posts"].create({"title": "Traced"})
    trace_id = own.get_span_context().trace_id.to_bytes(16, "big")

    def complete(spans: list[Any]) -> bool:
        return {(span.name, span.kind) for span in spans if span.trace_id == trace_id} >= _WANTED

    collector.spans(SERVICE, complete)
    telemetry.shutdown()
    spans = [one for one in collector.all("traces", SERVICE) if one.body.trace_id == trace_id]
    return sorted(spans, key=lambda one: one.body.start_time_unix_nano)


def rows(received: Sequence[Received]) -> Iterator[tuple[int, Received]]:
    """Yield the spans as a tree is read: each with its depth, below its parent."""
    known = {one.body.span_id for one in received}

    def below(parent_id: bytes | None, depth: int) -> Iterator[tuple[int, Received]]:
        for one in received:
            above = one.body.parent_span_id if one.body.parent_span_id in known else None
            if above == parent_id:
                yield depth, one
                yield from below(one.body.span_id, depth + 1)

    return below(None, 0)


def tree(received: Sequence[Received]) -> Iterator[str]:
    """Yield the lines of a text: name, start and duration in milliseconds, kind and process."""
    first_ns = received[0].body.start_time_unix_nano
    for depth, one in rows(received):
        start_ms, took_ms = _milliseconds(one, first_ns)
        name = "   " * max(0, depth - 1) + ("└─ " if depth else "") + one.body.name
        where = one.resource["parquedb.process.role"]
        yield f"{name:<34} +{start_ms:6.2f} ms {took_ms:7.2f} ms   {_KINDS[one.body.kind]:<8}  {where}"


def svg(received: Sequence[Received]) -> str:
    """Return a picture: one bar for each span, as long as it took."""
    first_ns = received[0].body.start_time_unix_nano
    whole_ms = max(sum(_milliseconds(one, first_ns)) for one in received)
    scale = (_WIDTH - _NAMES - _TIMES) / whole_ms
    height = _ROW * (len(received) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"',
        ' font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for row, (depth, one) in enumerate(rows(received)):
        start_ms, took_ms = _milliseconds(one, first_ns)
        left, length, top = _NAMES + start_ms * scale, max(1.5, took_ms * scale), row * _ROW + 8
        colour = _COLOURS[one.resource["parquedb.process.role"]]
        label = f"{one.body.name} ({_KINDS[one.body.kind]})"
        parts += [
            f'<text x="{10 + depth * 18}" y="{top + 14}" fill="#222222">{escape(label)}</text>',
            f'<rect x="{left:.1f}" y="{top}" width="{length:.1f}" height="18" rx="2" fill="{colour}"/>',
            f'<text x="{left + length + 6:.1f}" y="{top + 14}" fill="#555555">{took_ms:.2f} ms</text>',
        ]
    legend = _ROW * len(received) + 18
    for place, (role, colour) in enumerate(_COLOURS.items()):
        left = _NAMES + place * 160
        parts.append(f'<rect x="{left}" y="{legend - 11}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{left + 18}" y="{legend}" fill="#555555">process of the {role}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _milliseconds(one: Received, first_ns: int) -> tuple[float, float]:
    """Return when a span began and how long it took."""
    body = one.body
    return (body.start_time_unix_nano - first_ns) / 1e6, (body.end_time_unix_nano - body.start_time_unix_nano) / 1e6


if __name__ == "__main__":
    main()
