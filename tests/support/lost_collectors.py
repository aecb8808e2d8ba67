"""Collectors that are of no use: each is a way of being gone that exporters have met."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.collector import free_port


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Nothing listens there."""
    yield f"http://127.0.0.1:{free_port()}"


@contextlib.contextmanager
def unknown_name() -> Iterator[str]:
    """A host that no name server knows."""
    yield "http://no-such-collector.invalid:4318"


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Accepts connections, reads nothing and never answers."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    for connection in held:
        connection.close()


@contextlib.contextmanager
def answering(status: int, *, after_s: float = 0.0, retry_after_s: int | None = None) -> Iterator[str]:
    """Takes each request and answers with one status for ever.

    Args:
        status: Of HTTP.
        after_s: Seconds before the answer.
        retry_after_s: What the answer asks to wait, seconds.
    """
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            ending.wait(after_s)
            with contextlib.suppress(OSError):  # Whoever asked may have gone.
                self.send_response(status)
                if retry_after_s is not None:
                    self.send_header("Retry-After", str(retry_after_s))
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        ending.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


LOST: dict[str, Callable[[], contextlib.AbstractContextManager[str]]] = {
    "refuses": refusing,
    "never answers": silent,
    "answers slowly": lambda: answering(200, after_s=8.0),
    "503 for ever": lambda: answering(503),
    "429 for ever": lambda: answering(429, retry_after_s=60),
    "400 for ever": lambda: answering(400),
    "unknown name": unknown_name,
}
"""Ways of being gone by name; each gives an endpoint for as long as the block lasts."""
