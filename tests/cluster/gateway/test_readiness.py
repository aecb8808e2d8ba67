"""Whether a gateway should be sent requests, and how it says that it lives."""

import asyncio
from typing import Any

import httpx
import pytest

from parquedb.cluster.overview.health import DatabaseHealth, OwnerHealth
from parquedb.errors import NetworkError, RpcUnavailableError
from tests.cluster.gateway.conftest import Clients, Names
from tests.support.engine_database import EngineDatabase


class Health:
    """Answers what a test wants to be the case, and counts how often it was asked."""

    def __init__(self, answer: DatabaseHealth | Exception) -> None:
        self.answer = answer
        self.asked = 0

    async def __call__(self, *, timeout_s: float | None = None) -> DatabaseHealth:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def owner(status: str = "healthy", **report: Any) -> DatabaseHealth:
    found = OwnerHealth("posts", status, "open", report=report)  # type: ignore[arg-type]
    return DatabaseHealth(status, {"posts": found}, {})  # type: ignore[arg-type]


async def test_life_is_told_without_asking_anybody(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    database.health = Health(RpcUnavailableError("gone"))  # type: ignore[method-assign,assignment]
    assert (await client.get("/health")).json() == {"status": "healthy"}
    assert database.health.asked == 0  # type: ignore[attr-defined]


async def test_a_database_at_work_is_ready(client: httpx.AsyncClient) -> None:
    await client.post("/v1/posts", json={})
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    assert answer.json()["checks"] == {
        "storage": {"status": "healthy", "reasons": []},
        "owners": {"status": "healthy", "reasons": []},
    }
    assert answer.json()["owners"]["posts"]["status"] == "healthy"


async def test_of_each_owner_it_is_told_how_far_it_has_come_and_is_behind(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    lag = {"seq": 7, "commit_pending_s": 12.0, "unflushed_s": 3.0, "queued_ops": 2, "last_error": "password=x"}
    circuits = {"posts.read": "closed", "posts.write": "open"}
    report = {"reasons": ["circuit posts.write is open"], "lag": lag, "circuits": circuits, "version": "0.1.0"}
    database.health = Health(owner("degraded", **report))  # type: ignore[method-assign,assignment]
    told = (await client.get("/ready")).json()["owners"]["posts"]
    assert told == {
        **{"status": "degraded", "state": "open", "error": None},
        **{"reasons": ["circuit posts.write is open"], "circuits": circuits, "version": "0.1.0"},
        "lag": {"seq": 7, "commit_pending_s": 12.0, "unflushed_s": 3.0, "queued_ops": 2},
    }


def without_head(error: str | None) -> DatabaseHealth:
    known = OwnerHealth("posts", "healthy" if error is None else "unhealthy", "open", error=error)
    return DatabaseHealth("degraded", {"posts": known}, {}, "the cluster did not say")


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (owner("degraded", reasons=["the queue is full"]), "degraded", "posts: the queue is full"),
        (owner("unhealthy"), "degraded", "posts: its owner is unhealthy"),
        (owner(lag={"unflushed_s": 999.0}), "degraded", "have waited 999 s for a flush"),
        (DatabaseHealth("unhealthy", {}, {}, "no Ray"), "unhealthy", "cannot be listed"),
        (RpcUnavailableError("gone"), "unhealthy", "RPC_UNAVAILABLE"),
        # The head of the cluster is away: those that are known answer, or none does.
        (without_head(error=None), "degraded", "the owners cannot be listed"),
        (without_head(error="no answer"), "unhealthy", "the owners cannot be listed"),
    ],
)
async def test_trouble_of_owners_is_told(
    client: httpx.AsyncClient, database: EngineDatabase, found: Any, status: str, words: str
) -> None:
    database.health = Health(found)  # type: ignore[method-assign,assignment]
    answer = await client.get("/ready")
    assert answer.status_code == (503 if status == "unhealthy" else 200)
    told = answer.json()
    assert (told["status"], told["checks"]["owners"]["status"]) == (status, status)
    assert words in " ".join(told["checks"]["owners"]["reasons"])


class Store:
    """A store that fails, or does not answer."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        if self._error is not None:
            raise self._error
        await asyncio.Event().wait()
        return False

    async def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize(("error", "words"), [(NetworkError("down"), "NETWORK_ERROR"), (None, "within 0.05 s")])
async def test_a_store_that_does_not_answer_is_unhealthy(
    clients: Clients, database: EngineDatabase, error: Exception | None, words: str
) -> None:
    database._connection.open_storage = lambda purpose: Store(error)  # type: ignore[method-assign,assignment,return-value]
    answer = await clients(ready_timeout_s=0.05).get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert words in answer.json()["checks"]["storage"]["reasons"][0]


async def test_many_probes_cost_one_look(clients: Clients, database: EngineDatabase) -> None:
    health = database.health = Health(owner())  # type: ignore[method-assign,assignment]
    client = clients(ready_cache_s=60)
    await asyncio.gather(*(client.get("/ready") for _ in range(20)))
    await client.get("/ready")
    assert health.asked == 1
    fresh = clients(ready_cache_s=0)
    for _ in range(2):
        await fresh.get("/ready")
    assert health.asked == 3


async def test_reasons_are_for_those_who_may_know(clients: Clients, database: EngineDatabase) -> None:
    database.health = Health(owner("degraded", reasons=["the queue is full"]))  # type: ignore[method-assign,assignment]
    client = clients(Names(ada=["health:*"], bob=["read:*"]), access={"api_keys": True})
    for headers, shown in (
        ({}, False),
        ({"Authorization": "Bearer ada"}, True),
        ({"Authorization": "Bearer bob"}, False),
    ):
        answer = await client.get("/ready", headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert ("posts" in answer.text) == shown
