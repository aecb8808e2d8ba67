"""One connection carries all requests to a collector, and is made anew whenever it has been lost."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from parquedb.observability.otel.kept_connection import ANSWER_BYTES_MAX, Answer, KeptConnection, is_plain


class Server(ThreadingHTTPServer):
    """Keeps what it is sent.

    Attributes:
        connections: That were accepted.
        requests: Path, header fields and body of each.
        status: Answered, with `answer` as the body.
        ends: Whether it closes each connection after an answer, without saying so.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.requests: list[tuple[str, Any, bytes]] = []
        self.status, self.answer, self.ends = 200, b"", False
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces?team=a"

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that were cut."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers, body))
        self.send_response(self.server.status)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)
        self.close_connection = self.server.ends

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join(5)


def post(connection: KeptConnection, data: bytes | memoryview = b"spans", timeout_s: float = 10.0) -> Answer:
    return connection.request("POST", "", headers={"x-key": "a"}, timeout=timeout_s, data=data)


def test_requests_follow_each_other_on_one_connection(server: Server) -> None:
    connection = KeptConnection(server.url)
    answers = [post(connection), post(connection, memoryview(b"more spans")[:4])]
    assert [(one.status_code, one.reason, one.error) for one in answers] == [(200, "OK", None)] * 2
    assert [(path, fields["X-Key"], body) for path, fields, body in server.requests] == [
        ("/v1/traces?team=a", "a", b"spans"),
        ("/v1/traces?team=a", "a", b"more"),
    ]
    assert server.connections == 1


def test_an_answer_tells_how_long_to_wait(server: Server) -> None:
    server.status = 503
    answer = post(KeptConnection(server.url))
    assert (answer.status_code, answer.headers().get("retry-after")) == (503, "7")


def test_a_connection_that_the_collector_closed_is_an_error_once(server: Server) -> None:
    connection, server.ends = KeptConnection(server.url), True
    assert post(connection).status_code == 200
    # Whether the collector's end has arrived by then is up to the system.
    answers = [post(connection) for _ in range(2)]
    lost = [one for one in answers if one.error is not None]
    assert len(lost) <= 1
    assert all(connection.is_connection_error(one.error) for one in lost)
    assert answers[-1].status_code == 200 or post(connection).status_code == 200


def test_nobody_there_is_an_error_of_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    connection = KeptConnection(f"http://127.0.0.1:{port}/v1/traces")
    assert connection.is_connection_error(post(connection).error)
    assert not connection.is_connection_error(None)
    assert not connection.is_connection_error(ValueError("of another kind"))


def test_who_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = KeptConnection(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert isinstance(post(connection, timeout_s=0.05).error, TimeoutError)
        assert isinstance(post(connection, timeout_s=0.0).error, OSError)


def test_closing_ends_a_wait_for_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = KeptConnection(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        answers: list[Answer] = []
        waiting = threading.Thread(target=lambda: answers.append(post(connection, timeout_s=60.0)))
        waiting.start()
        with silent.accept()[0] as accepted:
            assert accepted.recv(4) == b"POST"
            connection.close()
            waiting.join(5.0)
            [answer] = answers
        assert answer.error is not None


def test_who_says_too_much_is_connected_to_anew(server: Server) -> None:
    connection, server.answer = KeptConnection(server.url), bytes(ANSWER_BYTES_MAX + 1)
    assert [post(connection).status_code for _ in range(2)] == [200, 200]
    assert server.connections == 2


def test_a_fork_has_a_connection_of_its_own(server: Server) -> None:
    connection = KeptConnection(server.url)
    post(connection)
    child = os.fork()
    if child == 0:
        os._exit(0 if post(connection).status_code == 200 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert server.connections == 2
    assert post(connection).status_code == 200
    assert server.connections == 2


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://collector:4318/v1/traces", True),
        ("http://[::1]:4318/v1/traces", True),
        ("https://collector:4318/v1/traces", False),
        ("http://me:secret@collector:4318/v1/traces", False),
        ("collector:4318", False),
        ("http://sämmler/v1/traces", False),
    ],
)
def test_only_plain_addresses_are_reached_without_requests(url: str, plain: bool) -> None:
    assert is_plain(url) is plain
