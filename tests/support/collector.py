"""A real OpenTelemetry collector for tests: `rotel` on loopback, forwarding what it received to a reader of ours.

It takes all three signals. Where nothing more is asked for, only spans are waited for:

    spans = collector.wait_for(2, "my service")
    points = collector.metrics("my service", lambda got: any(one.name == "parquedb.operations" for one in got))
    records = collector.logs("my service", lambda got: len(got) >= 3)
"""

import contextlib
import gzip
import importlib.util
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def rotel_binary() -> Path | None:
    """Return the collector's program, or None where the wheel is not installed."""
    found = importlib.util.find_spec("rotel")
    if found is None or not found.submodule_search_locations:
        return None
    binary = Path(next(iter(found.submodule_search_locations))) / "rotel-agent"
    return binary if binary.exists() else None


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Received(NamedTuple):
    """One span, metric or log record as it came in.

    Attributes:
        body: The protobuf message: `Span`, `Metric` or `LogRecord`.
        resource: Attributes of the resource that sent it, by name.
        scope: Name of the instrumentation scope.
    """

    body: Any
    resource: dict[str, Any]
    scope: str


class Collector:
    """A running collector and what it has forwarded.

    Attributes:
        http_endpoint: For OTLP over http/protobuf.
        grpc_endpoint: For OTLP over gRPC.
        pid: Its process.
    """

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.pid = 0
        self.http_endpoint = f"http://127.0.0.1:{http_port}"
        self.grpc_endpoint = f"http://127.0.0.1:{grpc_port}"
        self._received: dict[str, list[Received]] = {"traces": [], "metrics": [], "logs": []}
        self._arrived = threading.Condition()

    def received(self, signal: str, body: bytes) -> None:
        """Keep what came in.

        Args:
            signal: `traces`, `metrics` or `logs`.
            body: The request in protobuf.
        """
        items = list(_ITEMS[signal](body))
        with self._arrived:
            self._received[signal].extend(items)
            self._arrived.notify_all()

    def wait_for(self, count: int, service: str, timeout_s: float = 15.0) -> list[Any]:
        """Return the spans (protobuf) of one service once there are at least `count`.

        Raises:
            TimeoutError: fewer came in time.
        """
        return self.spans(service, lambda got: len(got) >= count, timeout_s)

    def spans(self, service: str, enough: Callable[[list[Any]], object], timeout_s: float = 15.0) -> list[Any]:
        """Return the spans (protobuf) of one service once `enough` of them is true.

        Raises:
            TimeoutError: it was not in time.
        """
        return self._wait("traces", service, enough, timeout_s)

    def metrics(self, service: str, enough: Callable[[list[Any]], object], timeout_s: float = 15.0) -> list[Any]:
        """Return the metrics (protobuf `Metric`, one for each export) of one service once `enough` of them is true.

        Raises:
            TimeoutError: it was not in time.
        """
        return self._wait("metrics", service, enough, timeout_s)

    def logs(self, service: str, enough: Callable[[list[Any]], object], timeout_s: float = 15.0) -> list[Any]:
        """Return the log records (protobuf) of one service once `enough` of them is true.

        Raises:
            TimeoutError: it was not in time.
        """
        return self._wait("logs", service, enough, timeout_s)

    def all(self, signal: str, service: str | None = None) -> list[Received]:
        """Return what has come in so far of one signal, with resource and scope; of one service or of all."""
        with self._arrived:
            return [one for one in self._received[signal] if service in (None, one.resource.get("service.name"))]

    def _wait(self, signal: str, service: str, enough: Callable[[list[Any]], object], timeout_s: float) -> list[Any]:
        def mine() -> list[Any]:
            return [one.body for one in self._received[signal] if one.resource.get("service.name") == service]

        with self._arrived:
            if not self._arrived.wait_for(lambda: enough(mine()), timeout_s):
                names = sorted({getattr(one, "name", "") for one in mine()})
                raise TimeoutError(
                    f"not enough {signal} of {service!r}: the collector forwarded {len(mine())}, {names}"
                )
            return mine()


def value_of(value: Any) -> Any:
    """Return what a protobuf `AnyValue` holds; None where it holds nothing."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    held = getattr(value, kind)
    if kind == "array_value":
        return [value_of(one) for one in held.values]
    return {one.key: value_of(one.value) for one in held.values} if kind == "kvlist_value" else held


def attributes_of(item: Any) -> dict[str, Any]:
    """Return the attributes of a protobuf resource, span, event, link, log record or data point by name."""
    return {one.key: value_of(one.value) for one in item.attributes}


def _spans_in(body: bytes) -> Iterator[Received]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = attributes_of(group.resource)
        for scoped in group.scope_spans:
            yield from (Received(span, resource, scoped.scope.name) for span in scoped.spans)


def _metrics_in(body: bytes) -> Iterator[Received]:
    for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        resource = attributes_of(group.resource)
        for scoped in group.scope_metrics:
            yield from (Received(metric, resource, scoped.scope.name) for metric in scoped.metrics)


def _logs_in(body: bytes) -> Iterator[Received]:
    for group in ExportLogsServiceRequest.FromString(body).resource_logs:
        resource = attributes_of(group.resource)
        for scoped in group.scope_logs:
            yield from (Received(record, resource, scoped.scope.name) for record in scoped.log_records)


_ITEMS: dict[str, Callable[[bytes], Iterable[Received]]] = {
    "traces": _spans_in,
    "metrics": _metrics_in,
    "logs": _logs_in,
}


@contextlib.contextmanager
def running_collector(folder: Path, *, forward: bool = True) -> Iterator[Collector]:
    """Run a collector until the block ends.

    Args:
        folder: An existing folder for its pid file and its output.
        forward: Whether this process is to read what comes in, which costs it time; else it is thrown away.
    """
    binary = rotel_binary()
    if binary is None:
        raise FileNotFoundError("the `rotel` wheel is not installed")
    http_port, grpc_port = free_port(), free_port()
    collector = Collector(http_port, grpc_port)
    onwards = ["--exporter=otlp", "--otlp-exporter-protocol=http", "--batch-timeout=50ms"]
    with _receiver(collector) as receiver_port, (folder / "rotel.out").open("wb") as output:
        onwards.append(f"--otlp-exporter-endpoint=http://127.0.0.1:{receiver_port}")
        process = subprocess.Popen(
            [
                binary,
                "start",
                f"--pid-file={folder / 'rotel.pid'}",
                f"--otlp-http-endpoint=127.0.0.1:{http_port}",
                f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}",
                *(onwards if forward else ["--exporter=blackhole"]),
            ],
            env={},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        collector.pid = process.pid
        try:
            for port in (http_port, grpc_port):
                _wait_until_open(port, process, folder / "rotel.out")
            yield collector
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _receiver(collector: Collector) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            # The collector compresses, whatever it is told.
            plain = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            collector.received(self.path.rpartition("/")[2], plain)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _wait_until_open(port: int, process: subprocess.Popen[bytes], output: Path, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the collector did not start: {output.read_text()}") from error
            time.sleep(0.02)
        else:
            return
