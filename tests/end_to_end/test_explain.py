"""`explain` in all its forms through Ray."""

from pathlib import Path

import ray

import parquedb
from tests.end_to_end.test_on_ray import QUICK, end_actors


async def test_every_form_says_the_same(ray_cluster: str, tmp_path: Path) -> None:
    database = parquedb.connect(str(tmp_path / "db"), engine=QUICK)
    again = await parquedb.connect_async(str(tmp_path / "db"), engine=QUICK)
    try:
        posts = database["posts"]
        posts.create_many([{"n": number} for number in range(50)])
        posts.flush()
        told = posts.explain({"n": {"$lt": 10}}, sort="-n", limit=5)
        assert isinstance(told, parquedb.Explanation)
        assert (told.plan, told.returned, told.rows_scanned, told.cached) == ("top_k", 5, 50, True)
        numbers = told.to_dict() | {"duration_s": 0}
        for other in (
            database.explain("posts", {"n": {"$lt": 10}}, sort="-n", limit=5),
            await again["posts"].explain({"n": {"$lt": 10}}, sort="-n", limit=5),
        ):
            assert other.to_dict() | {"duration_s": 0} == numbers
        raw = ray.get(posts.actor.explain.remote({"n": {"$lt": 10}}, operation="count"))
        assert (raw["plan"], raw["returned"], raw["conditions"][0]["path"]) == ("count", 10, "n")
        asked = {"op": "explain", "filter": {"n": 1}, "verbosity": "queryPlanner"}
        [planned] = ray.get(posts.actor.execute.remote([asked]))
        assert planned["value"]["rows_scanned"] == 50
        assert "returned" not in planned["value"]
    finally:
        end_actors(database.settings)
        await again.close()
        database.close()
