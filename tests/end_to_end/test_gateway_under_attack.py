"""The gateway behind Serve's proxy: broken HTTP, callers who leave, and what a replica keeps of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import parquedb
from parquedb.settings.gateway import GatewaySettings
from tests.support.broken_http import BROKEN
from tests.support.collector import free_port
from tests.support.hostile import Target

serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed")

STREAMS = 2


@pytest.fixture
async def gateway(ray_cluster: str, tmp_path: Path) -> AsyncIterator[Target]:
    from parquedb.cluster.gateway.deployment import serve_gateway  # noqa: PLC0415 - imports Serve

    database = await parquedb.connect_async(str(tmp_path / "db"))
    settings = GatewaySettings(port=free_port(), streams_max=STREAMS)
    served = await asyncio.to_thread(serve_gateway, database, settings)
    yield Target(settings.port, str(tmp_path))
    await asyncio.to_thread(served.close)
    await asyncio.to_thread(serve.shutdown)
    await database.close()


@pytest.mark.faults
async def test_broken_requests_and_callers_who_leave_cost_a_replica_nothing(gateway: Target) -> None:
    made = await gateway.ask("PUT", "/v1/victim/documents/one", b'{"n": 1}', {"If-None-Match": "*"})
    assert made.status == 201, made.text
    faults = []
    for name, data in BROKEN.items():
        faults += gateway.faults_of(await gateway.send(data, end=True), name)
    assert faults == []
    assert (await gateway.ask("GET", "/v1/victim/documents/one")).status == 200, "a smuggled request was carried out"

    url = f"http://127.0.0.1:{gateway.port}/v1/victim/changes"
    async with httpx.AsyncClient(timeout=30) as client:
        for _ in range(3 * STREAMS):
            # There is room for two: each of these must have left before the next but one can come.
            await first_event(client, url)


async def first_event(client: httpx.AsyncClient, url: str) -> None:
    """Follow a feed to its first event, and leave; wait for room if there is none yet."""
    async with asyncio.timeout(20):
        while True:
            async with client.stream("GET", url, headers={"Accept": "text/event-stream"}) as answer:
                if answer.status_code == 200:
                    async for line in answer.aiter_lines():
                        if line.startswith("id:"):
                            return
                assert answer.status_code == 503
            await asyncio.sleep(0.05)
