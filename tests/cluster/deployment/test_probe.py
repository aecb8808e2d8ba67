"""The health check of the image: what counts as well."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from parquedb.cluster.deployment.probe import Place, answers, is_well


@contextmanager
def listening(status: int, paths: list[str]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_gateway_that_answers_is_well_and_the_node_is_not_asked() -> None:
    asked: list[str] = []
    node: list[str] = []
    with listening(200, asked) as gateway, listening(200, node) as agent:
        assert is_well(Place(gateway, "/health"), Place(agent, "/api"))
    assert (asked, node) == (["/health"], [])


def test_a_gateway_that_is_ill_is_not_made_well_by_its_node() -> None:
    with listening(500, []) as gateway, listening(200, []) as agent:
        assert not is_well(Place(gateway, "/health"), Place(agent, "/api"))


def test_a_node_without_a_gateway_is_asked_itself() -> None:
    for status in (200, 503):
        with listening(status, []) as agent:
            assert is_well(Place(nobody(), "/health"), Place(agent, "/api")) is (status == 200)


def test_where_nobody_listens_nothing_is_well() -> None:
    assert not is_well(Place(nobody(), "/health"), Place(nobody(), "/api"))


def test_whoever_takes_a_connection_and_says_nothing_is_ill() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert answers(Place(silent.getsockname()[1], "/health"), timeout_s=0.05) is False
