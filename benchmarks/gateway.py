"""Documents over HTTP, beside the requests that an app on Ray Serve can answer which does nothing."""

import itertools
import json
import socket
import statistics
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

import parquedb
from benchmarks.bench import Bench, end_actors, rate, take_turns
from benchmarks.http_load import Load, offered
from benchmarks.table import Row, compared, quantity
from benchmarks.throughput import cpu_s, document
from parquedb.cluster.gateway.deployment import serve_gateway
from parquedb.settings.gateway import GatewaySettings
from tests.support.services import replica_pids

NAMESPACE = "events"
CONNECTIONS = 64
DOCUMENTS = 1_000
OPERATIONS = 64
CALLERS = 64
HOST = "127.0.0.1"
BAR = (">=", 0.7)
NOTE = (
    f"{CONNECTIONS} connections that stay open, each with one request under way, from a process of its own, through "
    "one Serve proxy to one replica each. The echo is `async def __call__(self, request)` that "
    "returns the bytes of such a document."
)
NOTE_CPU = "CPU time of the replica per request; the owner of the namespace is another process, and not in it."
NOTE_CLIENT = (
    f"{CALLERS} coroutines, each awaiting its own call before the next; what they send at the same time leaves in one "
    "request to `/operations`."
)
NOTE_OPERATIONS = f"Requests to `/operations` with {OPERATIONS} operations; the figure counts operations."


class Echo:
    """Returns the same bytes to everybody."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self, request: Request) -> Any:  # noqa: ARG002 - as Serve calls it
        """Answer."""
        return self._body


def fastapi_echo(body: bytes) -> type:
    """The same as a FastAPI app."""

    def build() -> FastAPI:
        app = FastAPI()

        @app.get("/{id}")
        async def get(id: str) -> Response:  # noqa: A002, ARG001 - as in any such app
            return Response(body, media_type="application/json")

        return app

    return serve.ingress(build)(type("FastApiEcho", (), {}))  # type: ignore[no-any-return]


class Measured:
    """The answers per second to a load, and the CPU time of the process that answers.

    Attributes:
        cpu_us: Of each round, microseconds per answer.
        load_cpu: Share of a processor that the load took at the most.
    """

    def __init__(self, bench: Bench, port: int, requests: list[str], app: str) -> None:
        self._load = Load(HOST, port, requests, CONNECTIONS, bench.choose(2.0, 0.7))
        self._app = app
        self.cpu_us: list[float] = []
        self.load_cpu = 0.0

    def __call__(self) -> float:
        """Measure one round; returns answers per second."""
        before = _replica_cpu_s(self._app)
        answered = offered(self._load)
        assert set(answered.statuses) <= {"200", "201"}, answered
        self.cpu_us.append((_replica_cpu_s(self._app) - before) / answered.answers * 1e6)
        self.load_cpu = max(self.load_cpu, answered.cpu_s / answered.elapsed_s)
        return answered.per_s


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    place = bench.place("local")
    database = bench.run(parquedb.connect_async(**place))
    bench.run(database.create_many(NAMESPACE, [document() | {"$id": f"e{n:05d}"} for n in range(DOCUMENTS)]))
    port = _free_port()
    # Starts Serve; what follows is served through the same proxy.
    served = serve_gateway(database, GatewaySettings(host=HOST, port=port))
    try:
        return _measure(bench, port)
    finally:
        served.close()
        serve.shutdown()
        end_actors(database.settings)
        bench.run(database.close())


def _measure(bench: Bench, port: int) -> list[Row]:
    body = _body(port)
    options = {"max_ongoing_requests": 1000, "ray_actor_options": {"num_cpus": 0}}
    serve.run(serve.deployment(Echo, **options).bind(body), name="echo", route_prefix="/echo")
    serve.run(serve.deployment(fastapi_echo(body), **options).bind(), name="fastapi", route_prefix="/fastapi")
    paths = [f"documents/e{number:05d}" for number in range(DOCUMENTS)]
    gets = [{"op": "get", "id": f"e{number:05d}"} for number in range(OPERATIONS)]
    creates = [{"op": "create", "data": document()}] * OPERATIONS
    requests = {
        "get": ([request("GET", f"/v1/{NAMESPACE}/{path}") for path in paths], "parquedb-gateway"),
        "echo": ([request("GET", f"/echo/{path}") for path in paths], "echo"),
        "fastapi": ([request("GET", f"/fastapi/{path[-6:]}") for path in paths], "fastapi"),
        "create": ([request("POST", f"/v1/{NAMESPACE}", document())], "parquedb-gateway"),
        "gets": ([request("POST", f"/v1/{NAMESPACE}/operations", {"operations": gets})], "parquedb-gateway"),
        "creates": ([request("POST", f"/v1/{NAMESPACE}/operations", {"operations": creates})], "parquedb-gateway"),
    }
    variants: dict[str, Any] = {name: Measured(bench, port, sent, app) for name, (sent, app) in requests.items()}
    client = bench.run(parquedb.connect_async(f"http://{HOST}:{port}", http={"allow_http": True}))
    variants |= {f"client {name}": _calls(bench, step) for name, step in _steps(client).items()}
    take_turns(2, variants)
    for name in requests:
        variants[name].cpu_us.clear()
    found = take_turns(bench.choose(7, 2), variants)
    peer = {"unit": "/s", "peer": "Serve echo"}
    bench.run(client.close())
    busiest = max(variants[name].load_cpu for name in requests)
    note = f"{NOTE} The load took at most {busiest:.0%} of a processor."
    per_operation = {name: [rate * OPERATIONS for rate in found[name]] for name in ("gets", "creates")}
    return [
        compared("HTTP gets of one document", found["get"], found["echo"], bar=BAR, note=note, **peer),
        _cpu_row("CPU of the replica per HTTP get", variants["get"], variants["echo"]),
        compared("the same by a FastAPI echo", found["fastapi"], found["echo"], note=note, **peer),
        compared("HTTP creates", found["create"], found["echo"], note=note, **peer),
        compared(
            f"gets, {OPERATIONS} in a request", per_operation["gets"], found["echo"], note=NOTE_OPERATIONS, **peer
        ),
        compared(
            f"creates, {OPERATIONS} in a request", per_operation["creates"], found["echo"], note=NOTE_OPERATIONS, **peer
        ),
        *(
            compared(f"{name} by the Python client", found[f"client {name}"], found["echo"], note=NOTE_CLIENT, **peer)
            for name in ("gets", "creates")
        ),
    ]


def _steps(client: parquedb.AsyncDatabase) -> dict[str, Callable[[], Coroutine[Any, Any, object]]]:
    """What the callers of the Python client do."""
    ids, collection = itertools.cycle([f"e{number:05d}" for number in range(DOCUMENTS)]), client[NAMESPACE]
    return {"gets": lambda: collection.get(next(ids)), "creates": lambda: collection.create(document())}


def _calls(bench: Bench, step: Callable[[], Coroutine[Any, Any, object]]) -> Callable[[], float]:
    return lambda: bench.run(rate(step, callers=CALLERS, seconds=bench.choose(2.0, 0.7)))


def request(method: str, path: str, body: Any = None) -> str:
    """Return a whole HTTP request."""
    text = "" if body is None else json.dumps(body)
    length = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n" if text else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{length}\r\n{text}"


def _body(port: int) -> bytes:
    """A document as the gateway returns it."""
    with socket.create_connection((HOST, port), 30) as connection:
        connection.sendall(request("GET", f"/v1/{NAMESPACE}/documents/e00000").encode())
        data = b""
        while b"\r\n\r\n" not in data or not data.endswith(b"}"):
            data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), data
    return body


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _cpu_row(what: str, ours: Measured, echo: Measured) -> Row:
    ratios = [mine / theirs for mine, theirs in zip(ours.cpu_us, echo.cpu_us, strict=True)]
    mine, theirs = statistics.median(ours.cpu_us), statistics.median(echo.cpu_us)
    spread = min(ratios), max(ratios)
    return Row(
        what, f"{quantity(mine)} µs", f"{quantity(theirs)} µs (Serve echo)", mine / theirs, None, spread, NOTE_CPU
    )


def _replica_cpu_s(app: str) -> float:
    return sum(cpu_s(pid) for pid in replica_pids(app))
