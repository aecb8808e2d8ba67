"""The endpoint, over HTTP."""

import gzip
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from parquedb.errors import ConfigurationError, RpcUnavailableError
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.prometheus import MetricsApplication, MetricsServer, render, start_metrics_server
from parquedb.observability.prometheus.server import REQUESTS_MAX
from tests.observability.prometheus.recorded import SNAPSHOT

JOIN_S = 10.0


class Database:
    """Says the same each time, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def metrics_by_process(self, *, owners: bool = True) -> dict[str, MetricsSnapshot]:
        self.asked += 1
        return {"posts": SNAPSHOT} if owners else {"": MetricsSnapshot(logs_dropped=7)}


@contextmanager
def serving(gather: Callable[[], MetricsSnapshot]) -> Iterator[MetricsServer]:
    with MetricsServer(MetricsApplication(gather), 0) as server:
        yield server


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body."""
    request = urllib.request.Request(url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_a_database_is_asked_at_each_scrape() -> None:
    database = Database()
    with start_metrics_server(database, 0) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/metrics"
        status, headers, body = get(server.url)
        assert (status, database.asked) == (200, 1)
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b'parquedb_queue_depth{namespace="posts"} 5.0\n' in body
        get(server.url)
        assert database.asked == 2


def test_a_process_may_show_itself_alone() -> None:
    with start_metrics_server(Database(), 0, owners=False) as server:
        body = get(server.url)[2]
    assert b"parquedb_logs_dropped_total 7.0" in body
    assert b"parquedb_queue_depth{" not in body


def test_an_async_database_is_asked_as_well() -> None:
    class AsyncDatabase:
        async def metrics_by_process(self, *, owners: bool = True) -> dict[str, MetricsSnapshot]:
            return {"posts": SNAPSHOT}

    with start_metrics_server(AsyncDatabase(), 0) as server:
        assert b'parquedb_queue_depth{namespace="posts"} 5.0\n' in get(server.url)[2]


def test_openmetrics_and_gzip_are_given_to_who_asks_for_them() -> None:
    with serving(lambda: SNAPSHOT) as server:
        accept = "application/openmetrics-text; version=1.0.0"
        status, headers, body = get(server.url, Accept=accept, Accept_Encoding="gzip")
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert gzip.decompress(body) == render(SNAPSHOT, accept)


def test_other_paths_and_methods_are_told_where_to_go() -> None:
    with serving(lambda: SNAPSHOT) as server:
        assert get(server.url.replace("/metrics", "/"))[0] == 404
        status, headers, _ = get(server.url, "POST")
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
        status, headers, body = get(server.url, "HEAD")
        assert (status, int(headers["Content-Length"]), body) == (200, len(render(SNAPSHOT)), b"")


def test_a_failure_to_gather_is_a_failed_scrape_and_the_next_one_works() -> None:
    outcomes = iter([RpcUnavailableError("the head is gone"), SNAPSHOT])

    def gather() -> MetricsSnapshot:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with serving(gather) as server:
        assert get(server.url)[::2] == (503, b"Not gathered: RpcUnavailableError.\n")
        assert get(server.url)[0] == 200


class Slow:
    """Gathers for as long as it is told to."""

    def __init__(self) -> None:
        self.gathered = 0
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self) -> MetricsSnapshot:
        self.gathered += 1
        number = self.gathered
        self.begun.release()
        assert self.go_on.wait(JOIN_S)
        return replace(SNAPSHOT, logs_dropped=number)


def call(application: MetricsApplication, answers: list[tuple[str, bytes]]) -> None:
    """Send one request without HTTP, so that a test knows when it is under way."""
    statuses: list[str] = []
    body = b"".join(
        application({"PATH_INFO": "/metrics", "REQUEST_METHOD": "GET"}, lambda status, headers: statuses.append(status))
    )
    answers.append((statuses[0], body))


def test_scrapes_that_wait_share_one_look_that_began_after_they_came() -> None:
    slow, answers = Slow(), []
    application = MetricsApplication(slow)
    threads = [threading.Thread(target=call, args=(application, answers)) for _ in range(4)]
    threads[0].start()
    assert slow.begun.acquire(timeout=JOIN_S)
    for thread in threads[1:]:
        thread.start()
    while application._room._value > REQUESTS_MAX - len(threads):  # All have asked and wait for the first.
        threading.Event().wait(0.001)
    slow.go_on.set()
    for thread in threads:
        thread.join(JOIN_S)
    shown = sorted(b"parquedb_logs_dropped_total 2.0" in body for _, body in answers)
    # The first look began before the three came, so it may be too old for them; the second is for all of them.
    assert (slow.gathered, shown) == (2, [False, True, True, True])


def test_more_requests_than_there_is_room_for_are_refused() -> None:
    slow, answers = Slow(), []
    application = MetricsApplication(slow)
    threads = [threading.Thread(target=call, args=(application, answers)) for _ in range(REQUESTS_MAX)]
    for thread in threads:
        thread.start()
    while application._room._value:
        threading.Event().wait(0.001)
    refused: list[tuple[str, bytes]] = []
    call(application, refused)
    slow.go_on.set()
    for thread in threads:
        thread.join(JOIN_S)
    call(application, answers)
    assert [status for status, _ in refused] == ["503 Service Unavailable"]
    assert [status for status, _ in answers] == ["200 OK"] * (REQUESTS_MAX + 1)


def test_a_port_that_is_taken_is_a_setting_at_fault_and_free_again_after_closing() -> None:
    with serving(lambda: SNAPSHOT) as server:
        with pytest.raises(ConfigurationError, match=f"port {server.port}") as refused:
            start_metrics_server(Database(), server.port)
        assert refused.value.context["setting"] == "port"
    server.close()
    with start_metrics_server(Database(), server.port) as again:
        assert get(again.url)[0] == 200


def test_an_address_of_version_six_is_served_too() -> None:
    try:
        server = MetricsServer(MetricsApplication(lambda: SNAPSHOT), 0, "::1")
    except ConfigurationError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    with server:
        assert server.url.startswith("http://[::1]:")
        assert get(server.url)[0] == 200
