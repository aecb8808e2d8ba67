"""One write's trace: a hook that appends spans to files, in the caller and in the owner, and a tree made of them.

The demo plays the application here and brings its own OpenTelemetry provider, so that it needs no collector.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from rich.text import Text
from rich.tree import Tree

import parquedb
from parquedb.cluster.cli.wording import duration
from parquedb.observability.otel.tracing import OpenTelemetryHook

_SHOWN = ("parquedb.commit.position", "parquedb.commit.writes", "parquedb.commit.bytes", "parquedb.storage.key")


@dataclass(frozen=True)
class Span:
    """A finished span, as it stands in a file.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: The span it hangs under; None for the first.
        name: Operation and namespace.
        start_ns: Nanoseconds since the epoch.
        end_ns: Nanoseconds since the epoch.
        pid: The process it was made in.
        attributes: What the hook noted.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_ns: int
    end_ns: int
    pid: int
    attributes: dict[str, Any]


class FileExporter(SpanExporter):
    """Appends each span as one line of JSON to a file of this process."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / f"spans-{os.getpid()}.jsonl"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write finished spans; each is in the file when this returns."""
        with self._path.open("a") as file:
            file.writelines(json.dumps(asdict(plain(span)), default=str) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


class FileSpans(OpenTelemetryHook):
    """The tracing hook with a provider that writes files; where it is unpickled it makes a provider anew."""

    def __init__(self, directory: str) -> None:
        """Write to files in `directory`, which exists."""
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(FileExporter(Path(directory))))
        super().__init__(provider)
        self._directory = directory

    def __reduce__(self) -> tuple[Any, ...]:
        return (FileSpans, (self._directory,))


def plain(span: ReadableSpan) -> Span:
    """Take from an SDK span what the demo shows."""
    context = span.get_span_context()
    return Span(
        trace_id=f"{context.trace_id:032x}" if context else "",
        span_id=f"{context.span_id:016x}" if context else "",
        parent_id=f"{span.parent.span_id:016x}" if span.parent else None,
        name=span.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        pid=os.getpid(),
        attributes=dict(span.attributes or {}),
    )


async def traced_write(url: str, directory: Path) -> list[Span]:
    """Write once with tracing on.

    Args:
        url: The database.
        directory: Where the span files go; made here.

    Returns:
        The spans of that write's trace, oldest first.
    """
    directory.mkdir()
    async with await parquedb.connect_async(url, hooks=[FileSpans(str(directory))]) as db:
        traced = db.collection("traced")
        await traced.create({"n": 0}, id="one")  # The owner starts here, outside the trace that is shown.
        await traced.update("one", {"$inc": {"n": 1}})
    spans = [Span(**json.loads(line)) for path in directory.glob("*.jsonl") for line in path.open()]
    updates = {span.trace_id for span in spans if span.name == "update traced"}
    return sorted((span for span in spans if span.trace_id in updates), key=lambda span: span.start_ns)


def trees(spans: Sequence[Span]) -> list[Tree]:
    """Draw a trace; more than one tree means that a parent is missing."""
    known = {span.span_id for span in spans}
    roots = [span for span in spans if span.parent_id not in known]
    first_ns = min((span.start_ns for span in spans), default=0)
    processes = {pid: number for number, pid in enumerate(dict.fromkeys(span.pid for span in spans))}
    names = ("caller", "owner", *("another process" for _ in processes))

    def draw(span: Span, parent: Tree | None) -> Tree:
        label = Text.assemble(
            (span.name, "bold"),
            (f"  {duration((span.end_ns - span.start_ns) / 1e9)}", "green"),
            (f"  at +{duration((span.start_ns - first_ns) / 1e9)}, {names[processes[span.pid]]} {span.pid}", "dim"),
            (details(span), "dim"),
        )
        node = parent.add(label) if parent else Tree(label, guide_style="cyan")
        for child in spans:
            if child.parent_id == span.span_id:
                draw(child, node)
        return node

    return [draw(root, None) for root in roots]


def details(span: Span) -> str:
    """Word the few attributes that tell a reader something."""
    known = [f"{name.rsplit('.', 1)[-1]} {span.attributes[name]}" for name in _SHOWN if name in span.attributes]
    return "\n" + ", ".join(known) if known else ""


def is_whole(spans: Sequence[Span]) -> bool:
    """Say whether the spans are one tree that starts in the caller and ends in storage, under a commit, elsewhere."""
    known = {span.span_id: span for span in spans}
    roots = [span for span in spans if span.parent_id not in known]
    stored = [span for span in spans if span.name == "storage.create"]
    return (
        len(roots) == 1
        and bool(stored)
        and all(span.parent_id and known[span.parent_id].name.startswith("commit ") for span in stored)
        and all(span.pid != roots[0].pid for span in stored)
    )
