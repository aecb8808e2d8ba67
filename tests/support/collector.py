"""A real OpenTelemetry collector for tests: `rotel` on loopback, forwarding what it received to a reader of ours."""

import contextlib
import gzip
import importlib.util
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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


class Collector:
    """A running collector and the spans it has forwarded.

    Attributes:
        http_endpoint: For OTLP over http/protobuf.
        grpc_endpoint: For OTLP over gRPC.
    """

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.http_endpoint = f"http://127.0.0.1:{http_port}"
        self.grpc_endpoint = f"http://127.0.0.1:{grpc_port}"
        self._spans: list[tuple[Any, str]] = []
        self._arrived = threading.Condition()

    def received(self, request: ExportTraceServiceRequest) -> None:
        """Keep what came in."""
        with self._arrived:
            for resource_spans in request.resource_spans:
                service = next(
                    (one.value.string_value for one in resource_spans.resource.attributes if one.key == "service.name"),
                    "",
                )
                for scope_spans in resource_spans.scope_spans:
                    self._spans.extend((span, service) for span in scope_spans.spans)
            self._arrived.notify_all()

    def wait_for(self, count: int, service: str, timeout_s: float = 15.0) -> list[Any]:
        """Return the spans (protobuf) of one service once there are at least `count`.

        Raises:
            TimeoutError: fewer came in time.
        """

        def mine() -> list[Any]:
            return [span for span, name in self._spans if name == service]

        with self._arrived:
            if not self._arrived.wait_for(lambda: len(mine()) >= count, timeout_s):
                raise TimeoutError(f"expected {count} spans of {service!r}, the collector forwarded {len(mine())}")
            return mine()


@contextlib.contextmanager
def running_collector(folder: Path) -> Iterator[Collector]:
    """Run a collector until the block ends.

    Args:
        folder: An existing folder for its pid file and its output.
    """
    binary = rotel_binary()
    if binary is None:
        raise FileNotFoundError("the `rotel` wheel is not installed")
    http_port, grpc_port = free_port(), free_port()
    collector = Collector(http_port, grpc_port)
    with _receiver(collector) as receiver_port, (folder / "rotel.out").open("wb") as output:
        process = subprocess.Popen(
            [
                binary,
                "start",
                f"--pid-file={folder / 'rotel.pid'}",
                f"--otlp-http-endpoint=127.0.0.1:{http_port}",
                f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}",
                "--exporter=otlp",
                f"--otlp-exporter-endpoint=http://127.0.0.1:{receiver_port}",
                "--otlp-exporter-protocol=http",
                "--batch-timeout=50ms",
            ],
            env={},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
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
            collector.received(ExportTraceServiceRequest.FromString(plain))
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
