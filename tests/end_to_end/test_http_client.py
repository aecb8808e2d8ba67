"""The client of a gateway against Ray Serve: proxy, replica, owner, and back; also from inside of Ray tasks."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import ray

import parquedb
from parquedb.errors import VersionConflictError
from parquedb.settings.gateway import GatewaySettings
from tests.support.collector import free_port

serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed")


@pytest.fixture(scope="module")
def url(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from parquedb.cluster.gateway.deployment import serve_gateway  # noqa: PLC0415 - imports Serve

    database = asyncio.run(parquedb.connect_async(str(tmp_path_factory.mktemp("gateway") / "db")))
    served = serve_gateway(database, GatewaySettings(port=free_port()))
    yield served.url
    served.close()
    serve.shutdown()
    asyncio.run(database.close())


def test_a_client_does_its_work_through_serve_as_it_does_without(url: str, tmp_path: Path) -> None:
    with parquedb.connect(url) as db:
        posts = db["posts"]
        first = posts.create({"price": Decimal("1.10"), "raw": b"\x00\xff"}, id="a/b", actor="ada")
        assert (first["price"], first["raw"], first["createdBy"]) == (Decimal("1.10"), b"\x00\xff", "ada")
        assert posts.get("a/b") == first
        assert posts.update("a/b", {"$inc": {"n": 2}}, expected_version=1)["n"] == 2
        with pytest.raises(VersionConflictError) as caught:
            posts.update("a/b", {"$inc": {"n": 2}}, expected_version=1)
        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert posts.insert_arrow(pa.table({"$id": ["x", "y"], "n": [1, 2]}), request_id="load") == 2
        assert posts.insert_arrow(pa.table({"$id": ["x", "y"], "n": [1, 2]}), request_id="load") == 2
        ids = posts.create_many([{"n": n} for n in range(5000)])
        assert len(set(ids)) == 5000
        assert posts.count() == 5003
        assert posts.export_file(tmp_path / "posts.parquet").rows == 5003
        assert db["again"].import_file(tmp_path / "posts.parquet").rows == 5003
        posts.flush()
        assert posts.stats()["live_rows"] == 5003
        assert db.namespaces() == ["again", "posts"]
        assert db.health().status == "healthy"
        assert [one.action for one in posts.history("a/b")] == ["create", "update"]

        @ray.remote(num_cpus=0)
        def write(collection: parquedb.Collection) -> int:
            return int(collection.create({"from": "a task"})["version"])

        assert ray.get(write.remote(posts)) == 1


def test_many_coroutines_at_once_each_write_once(url: str) -> None:
    async def work() -> None:
        async with await parquedb.connect_async(url) as db:
            counts = db["counts"]
            await counts.create({"n": 0}, id="c")
            await asyncio.gather(*(counts.update("c", {"$inc": {"n": 1}}) for _ in range(300)))
            assert (await counts.get("c"))["n"] == 300

    asyncio.run(work())
