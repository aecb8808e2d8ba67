"""What a page is told of the database: to whom, how often owners are asked for it, and what it must not do to them."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from parquedb.access.permissions import ALL, Permissions
from parquedb.actors.reporting.survey import OwnerSurvey, Sizes, Work
from parquedb.cluster.gateway.console import gathering
from parquedb.cluster.gateway.console.answer import NAMESPACES_MAX, answer
from parquedb.cluster.gateway.console.gathering import Moment
from parquedb.cluster.gateway.console.rates import Flow, Flows
from parquedb.cluster.overview.survey import DatabaseSurvey
from parquedb.errors import RpcUnavailableError
from parquedb.storage.breaker.circuit import CircuitBreaker
from parquedb.storage.breaker.monitor import CircuitBreakerMonitor
from tests.cluster.gateway.conftest import Clients, Names
from tests.support.engine_database import EngineDatabase
from tests.support.local_connection import LocalConnection


def connection(database: EngineDatabase) -> LocalConnection:
    found = database._connection
    assert isinstance(found, LocalConnection)
    return found


@pytest.fixture
def always_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each poll look by itself."""
    monkeypatch.setattr(gathering, "CACHE_S", 0.0)
    monkeypatch.setattr(gathering, "LISTED_S", 0.0)


async def polled(client: httpx.AsyncClient, who: str | None = None) -> dict[str, Any]:
    got = await client.get("/console/data", headers={"Authorization": f"Bearer {who}"} if who else {})
    assert got.status_code == 200, got.text
    assert got.headers["cache-control"] == "no-store"
    found: dict[str, Any] = got.json()
    return found


def by_name(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in data["namespaces"]}


async def test_an_empty_database_is_healthy_and_shows_nothing(client: httpx.AsyncClient) -> None:
    data = await polled(client)
    assert (data["status"], data["namespaces"], data["namespaces_total"], data["awake"]) == ("healthy", [], 0, 0)
    assert (data["interval_s"], data["slowest"], data["errors"], data["listed"]) == (None, [], [], True)


@pytest.mark.usefixtures("always_new")
async def test_a_namespace_is_told_with_sizes_lags_rates_and_its_owner(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    connection(database).stored.add("sleeper")
    for number in range(5):
        await client.post("/v1/posts", json={"n": number})
    first = await polled(client)
    row = by_name(first)["posts"]
    assert (row["state"], row["status"], row["documents"], row["seq"], row["files"]) == ("open", "healthy", 5, 5, 0)
    assert row["node"] == "node-1"
    assert row["pid"] > 0
    assert row["flush_lag_s"] > 0
    assert (row["commit_lag_s"], row["queued"]) == (0.0, 0)
    assert by_name(first)["sleeper"] == {"name": "sleeper", "state": "asleep", "status": "healthy", "reasons": []}
    assert (first["namespaces_total"], first["awake"]) == (2, 1)
    await client.get("/v1/posts")
    await client.post("/v1/posts", json={"n": 5})
    second = await polled(client)
    row = by_name(second)["posts"]
    # One of each, in the time between two answers of the owner.
    assert second["interval_s"] > 0
    assert row["reads_per_s"] == row["writes_per_s"] == second["totals"]["writes_per_s"]
    assert row["reads_per_s"] * second["interval_s"] == pytest.approx(1, rel=0.5)
    assert 0 < second["totals"]["p50_s"] <= second["totals"]["p99_s"] < 5


async def test_what_failed_and_what_was_slow_is_told_with_its_ids(client: httpx.AsyncClient) -> None:
    await client.post("/v1/posts?id=a", json={"n": 1})
    for _ in range(2):
        again = await client.post("/v1/posts?id=a", json={"n": 1}, headers={"Idempotency-Key": "my-key"})
        assert again.status_code == 409
    data = await polled(client)
    [error] = data["errors"]
    assert (error["namespace"], error["operation"], error["code"], error["seen_by"]) == (
        *("posts", "create", "ALREADY_EXISTS"),
        "owner",
    )
    assert error["count"] == 2
    assert error["request_id"].startswith("my-key")
    assert "posts" in error["message"]
    assert {one["operation"] for one in data["slowest"]} == {"create"}


async def test_what_only_the_gateway_met_is_told_as_well(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    database.refuse += [RpcUnavailableError("its owner is gone"), RuntimeError("boom")]
    answers = [await client.get("/v1/posts/documents/a") for _ in range(2)]
    assert sorted(answer.status_code for answer in answers) == [500, 503]
    told = {error["code"]: error for error in (await polled(client))["errors"]}
    assert told.keys() == {"RPC_UNAVAILABLE", "INTERNAL"}
    assert {error["seen_by"] for error in told.values()} == {"gateway"}
    assert told["RPC_UNAVAILABLE"]["request_id"] in {answer.headers["x-request-id"] for answer in answers}
    assert "boom" not in told["INTERNAL"]["message"]


async def test_of_many_operations_in_one_request_each_failure_is_told(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    database.refuse += [RpcUnavailableError("its owner is gone"), RuntimeError("boom")]
    body = {"operations": [{"op": "get", "id": "a"}, {"op": "get", "id": "b"}, "nonsense"]}
    answer = await client.post("/v1/posts/operations", json=body)
    assert [one["ok"] for one in answer.json()["results"]] == [False] * 3
    told = {error["code"]: error for error in (await polled(client))["errors"]}
    assert told.keys() == {"RPC_UNAVAILABLE", "INTERNAL"}
    assert told["RPC_UNAVAILABLE"]["operation"] == "get"


async def test_many_pages_cost_one_look(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    await client.post("/v1/posts", json={})
    answers = await asyncio.gather(*(polled(client) for _ in range(20)))
    assert connection(database).surveyed == 1
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.usefixtures("always_new")
async def test_a_poll_opens_nothing_and_asks_for_no_document(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    connection(database).stored |= {"asleep-1", "asleep-2"}
    for _ in range(3):
        data = await polled(client)
    assert [row["state"] for row in data["namespaces"]] == ["asleep", "asleep"]
    assert database.asked == []
    assert connection(database)._owners == {}


async def test_a_caller_sees_what_he_may_read_and_no_name_of_anything_else(clients: Clients) -> None:
    admin_only = ["health:*", "metrics:*"]
    client = clients(
        Names(all=[ALL], reader=["read:posts"], counter=["count:posts"], writer=["write:*"], admin=admin_only)
    )
    as_all = {"Authorization": "Bearer all"}
    for namespace in ("posts", "secret-plans"):
        await client.post(f"/v1/{namespace}?id=a", json={}, headers=as_all)
        await client.post(f"/v1/{namespace}?id=a", json={}, headers=as_all)
    assert by_name(await polled(client, "all")).keys() == {"posts", "secret-plans"}
    for who, names, words in (("reader", {"posts"}, True), ("counter", {"posts"}, False), ("writer", set(), None)):
        data = await polled(client, who)
        assert by_name(data).keys() == names
        assert "secret-plans" not in str(data)
        assert data["namespaces_total"] == len(names)
        assert [error["message"] is not None for error in data["errors"]] == ([] if words is None else [words])
        assert {one["namespace"] for one in data["slowest"]} == names
    operator = await polled(client, "admin")
    assert by_name(operator) == {}
    assert {error["namespace"] for error in operator["errors"]} == {"posts", "secret-plans"}
    assert {error["message"] for error in operator["errors"]} == {None}
    assert {one["namespace"] for one in operator["slowest"]} == {"posts", "secret-plans"}


async def test_the_data_needs_a_proof_and_page_and_files_need_none(clients: Clients) -> None:
    client = clients(Names(all=[ALL]))
    refused = await client.get("/console/data")
    assert (refused.status_code, refused.json()["code"]) == (401, "AUTHENTICATION_REQUIRED")
    for path in ("/console", "/console/console.css", "/console/main.js"):
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/console/nothing.js")).status_code == 401


async def test_of_very_many_namespaces_the_first_are_told_and_how_many_there_are(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    connection(database).stored |= {f"tenant-{number:04}" for number in range(1000)}
    await client.post("/v1/zebras", json={})
    data = await polled(client)
    assert (len(data["namespaces"]), data["namespaces_total"]) == (NAMESPACES_MAX, 1001)
    assert data["namespaces"][0]["name"] == "zebras"


def in_order(**reads_per_s: int) -> list[str]:
    """Return how namespaces that are read so often, and are alike otherwise, are listed."""
    health = {"state": "open", "status": "healthy", "reasons": [], "lag": {}}
    circuits = CircuitBreakerMonitor().get_health_status()
    owners = {
        name: OwnerSurvey(name, "host", "", 1, 99.0, health, circuits, Sizes(5, 0, 0, 5), Work(), Work())
        for name in reads_per_s
    }
    flows = Flows(10.0, {name: Flow(10.0, Work(10 * rate), Work()) for name, rate in reads_per_s.items()})
    told = answer(Moment(0.0, DatabaseSurvey(owners), flows, tuple(owners)), Permissions([ALL]))
    return [row["name"] for row in told["namespaces"]]


def test_the_busier_come_first_and_those_that_are_about_as_busy_keep_their_places() -> None:
    assert in_order(idle=0, slow=3, a=40, b=41, top=4000) == ["top", "a", "b", "slow", "idle"]
    assert in_order(idle=0, slow=3, a=41, b=40, top=4000) == ["top", "a", "b", "slow", "idle"]


async def test_owners_that_cannot_be_asked_are_a_state_to_show_and_no_error(
    client: httpx.AsyncClient, database: EngineDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post("/v1/posts", json={})

    def gone(*_: object) -> None:
        raise RpcUnavailableError("no Ray, password=hunter2hunter2")

    monkeypatch.setattr(connection(database), "survey", gone)
    data = await polled(client)
    assert data["status"] == "unhealthy"
    assert data["problem"].startswith("RPC_UNAVAILABLE: no Ray")
    assert "hunter2" not in data["problem"]
    assert by_name(data)["posts"]["state"] == "asleep"


async def test_owners_that_serve_on_without_a_head_are_degraded_and_shown(
    client: httpx.AsyncClient, database: EngineDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post("/v1/posts", json={})
    look = connection(database).survey
    monkeypatch.setattr(connection(database), "survey", lambda *given: replace(look(*given), error="no head"))
    data = await polled(client)
    assert (data["status"], data["problem"], by_name(data)["posts"]["state"]) == ("degraded", "no head", "open")


async def test_an_open_circuit_of_the_gateway_degrades_what_its_operators_see(
    clients: Clients, database: EngineDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = clients(Names(admin=["health:*"], reader=["read:posts"]))
    circuit = CircuitBreaker("bulk.read")
    circuit.trip()
    monitor = CircuitBreakerMonitor()
    monitor.register("bulk", circuit)
    look, own = connection(database).survey, monitor.get_health_status().circuits
    monkeypatch.setattr(connection(database), "survey", lambda *given: replace(look(*given), circuits=own))
    operator, reader = await polled(client, "admin"), await polled(client, "reader")
    assert (operator["status"], [one["state"] for one in operator["circuits"]["troubled"]]) == ("degraded", ["open"])
    assert (reader["status"], reader["circuits"]["troubled"]) == ("healthy", [])
