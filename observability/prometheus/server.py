"""A small HTTP endpoint that Prometheus scrapes; any process that has connected to the database can serve it."""

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any, Final, Protocol, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from parquedb.errors import ConfigurationError
from parquedb.observability.logs import get_logger
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.prometheus.exposition import content_type, render
from parquedb.observability.prometheus.totals import RunningTotals

PATH: Final = "/metrics"

REQUESTS_MAX: Final = 8
"""Requests answered at a time; more are refused."""

TALK_S: Final = 10.0
"""Seconds that a client may take to send its request, or to take the answer."""

_logger = get_logger(__name__)


Counts = Mapping[str, MetricsSnapshot]
"""What each process has counted, by its name."""


class MetricsSource(Protocol):
    """A database, sync or async, as far as it is needed here."""

    def metrics_by_process(self, *, owners: bool) -> Counts | Coroutine[Any, Any, Counts]:
        """Return what each process has counted, see `RunningTotals.update`; without `owners` this process alone."""


class MetricsApplication:
    """The endpoint as a WSGI application, for a web server that is there already.

    Scrapes that overlap share one look at the processes, so that ten of them do not ask an owner ten times.

    Args:
        gather: Returns what to show; may take its time and may raise, which is answered with 503.
    """

    def __init__(self, gather: Callable[[], MetricsSnapshot]) -> None:
        self._gather = gather
        self._gathering = threading.Lock()
        self._gathered: tuple[float, MetricsSnapshot] = (float("-inf"), MetricsSnapshot())
        self._room = threading.BoundedSemaphore(REQUESTS_MAX)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        status, headers, body = self._answer(environ)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        plain = [("Content-Type", "text/plain; charset=utf-8")]
        if environ.get("PATH_INFO") != PATH:
            return "404 Not Found", plain, f"The metrics are at {PATH}.\n".encode()
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return "405 Method Not Allowed", [*plain, ("Allow", "GET, HEAD")], b"Expected GET.\n"
        asked_s = time.monotonic()
        if not self._room.acquire(blocking=False):
            return "503 Service Unavailable", [*plain, ("Retry-After", "1")], b"Too many requests at a time.\n"
        try:
            return self._shown(environ, self._shared(asked_s))
        except Exception as error:
            _logger.warning("the metrics could not be gathered", exc_info=error)
            return "503 Service Unavailable", plain, f"Not gathered: {type(error).__name__}.\n".encode()
        finally:
            self._room.release()

    @staticmethod
    def _shown(environ: dict[str, Any], snapshot: MetricsSnapshot) -> tuple[str, list[tuple[str, str]], bytes]:
        accept = environ.get("HTTP_ACCEPT", "")
        headers, body = [("Content-Type", content_type(accept))], render(snapshot, accept)
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            return "200 OK", [*headers, ("Content-Encoding", "gzip")], gzip.compress(body, compresslevel=1)
        return "200 OK", headers, body

    def _shared(self, asked_s: float) -> MetricsSnapshot:
        """Return a snapshot that nobody began to gather before `asked_s`."""
        with self._gathering:
            began_s, snapshot = self._gathered
            if began_s < asked_s:
                began_s = time.monotonic()
                snapshot = self._gather()
                self._gathered = began_s, snapshot
            return snapshot


class MetricsServer:
    """A running endpoint; a context manager.

    Attributes:
        port: The one it listens on.
        url: What to scrape.
    """

    def __init__(self, application: MetricsApplication, port: int, host: str = "127.0.0.1") -> None:
        """Listen, and answer on threads of its own.

        Raises:
            ConfigurationError: `host` and `port` cannot be listened on.
        """
        server_class = _ServerV6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, application, server_class, _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"metrics cannot be served on {host}, port {port}: {error}; expected an address of this machine and a "
                "free port, 0 for any",
                setting="port",
            ) from error
        self.port = self._server.server_port
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="parquedb-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; again does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_metrics_server(
    db: MetricsSource, port: int, host: str = "127.0.0.1", *, owners: bool = True
) -> MetricsServer:
    """Serve the metrics of a database at `http://host:port/metrics` until `close()` or the end of the process.

    What is shown is this process's own side of its calls and what the owners in its Ray cluster say; those that have
    ended since the server was started keep their counts.

    Args:
        db: An open database, sync or async.
        port: Where to listen; 0 for any free port.
        host: An address of this machine. There is no authentication, so think before it is another than the loopback.
        owners: Whether to show the owners as well: one process of a cluster is enough for that.

    Raises:
        ConfigurationError: `host` and `port` cannot be listened on.
    """
    totals = RunningTotals()

    def gather() -> MetricsSnapshot:
        counts = db.metrics_by_process(owners=owners)
        # On a loop of the moment's own: asking waits on threads, and the application's loop may be busy.
        return totals.update(asyncio.run(counts) if isinstance(counts, Coroutine) else counts)

    return MetricsServer(MetricsApplication(gather), port, host)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A slow client's thread is not waited for.
    block_on_close = False


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = TALK_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing: every scrape would be a line on stderr."""
