"""The service of docs/guides/serve.md, as it stands there: owners and replicas die and change in number, under load."""

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import parquedb
from tests.support.collector import free_port
from tests.support.pages import ROOT, listing
from tests.support.services import Callers, replica_pids

serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed")

APP = "posts"

Deploy = Callable[[int], Awaitable[None]]


@pytest.fixture
def url(ray_cluster: str) -> Iterator[str]:
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    for page, title in (("guides/fastapi.md", "app.py"), ("guides/serve.md", "served.py")):
        (tmp_path / title).write_text(listing(page, title))
    monkeypatch.syspath_prepend(str(tmp_path))
    served = importlib.import_module("served")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])

    async def deploy(replicas: int) -> None:
        application = served.build(
            {"PARQUEDB_URL": str(tmp_path / "data"), "PYTHONPATH": path, "REPLICAS": str(replicas)}
        )
        await asyncio.to_thread(serve.run, application, name=APP, route_prefix="/")

    yield deploy
    for name in ("served", "app"):
        del sys.modules[name]


@pytest.mark.faults
async def test_owners_and_replicas_die_and_change_their_number_under_load_and_every_post_is_there_once(
    url: str, deploy: Deploy, tmp_path: Path
) -> None:
    await deploy(2)
    callers = Callers([url])
    async with await parquedb.connect_async(str(tmp_path / "data")) as db:
        async with callers.running():
            await callers.more(100)
            owner = (await db["posts"].stats())["pid"]
            os.kill(owner, signal.SIGKILL)
            await callers.more(100)
            assert (await db["posts"].stats())["pid"] != owner
            assert callers.failures == [], "a client that repeats hides the death of an owner"

            await deploy(3)
            await callers.more(100)
            await deploy(1)
            await callers.more(100)
            assert callers.failures == [], "a replica that goes answers what it has begun"

            before = replica_pids(APP)
            os.kill(min(before), signal.SIGKILL)
            await callers.until(lambda: bool(callers.failures))
            await callers.more(100)
            assert replica_pids(APP).isdisjoint(before)
        found = [post["title"] async for post in db["posts"].find(limit=1000)]
    assert sorted(found) == sorted(callers.made)
