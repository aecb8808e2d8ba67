"""`parquedb namespaces` and `parquedb compact`."""

import asyncio
import json
from pathlib import Path

import pytest
import ray

from tests.cluster.cli.conftest import Run
from tests.support.vault import directory, furnish


@pytest.fixture
def stored(tmp_path: Path) -> str:
    """A directory with the namespace `posts`, made without Ray."""

    async def make() -> None:
        async with directory(tmp_path / "db") as store:
            await furnish(store)

    asyncio.run(make())
    return str(tmp_path / "db")


def test_namespaces_are_listed_from_storage_without_ray(run: Run, stored: str) -> None:
    ray_was_there = ray.is_initialized()
    assert run("namespaces", stored).out == "posts\n"
    assert json.loads(run("namespaces", stored, "--json").out) == {"namespaces": ["posts"]}
    assert ray.is_initialized() == ray_was_there


def test_sizes_are_told_where_storage_can_be_read(run: Run, stored: str) -> None:
    heading, row = run("namespaces", stored, "--sizes").lines
    assert heading.split() == ["namespace", "data", "files", "their", "rows", "objects", "stored", "last", "seq"]
    assert row.split()[:2] == ["posts", "4"]
    assert json.loads(run("namespaces", stored, "--sizes", "--json").out)["namespaces"]["posts"]["seq"] == 51


def test_a_gateway_lists_what_is_behind_it(run: Run, gateway: str) -> None:
    assert run("namespaces", gateway).lines == ["orders"]


def test_what_needs_the_storage_says_so_behind_a_gateway(run: Run, gateway: str) -> None:
    for words in (["namespaces", gateway, "--sizes"], ["verify", gateway], ["keys", "list", "--url", gateway]):
        ended = run(*words)
        assert (ended.code, ended.out) == (2, "")
        assert "needs the storage itself, which is behind a gateway here: give the URL of the storage" in ended.err


def test_nothing_stored_is_an_answer(run: Run, tmp_path: Path) -> None:
    ended = run("namespaces", str(tmp_path))
    assert (ended.code, ended.out) == (1, "")
    assert "no namespace is stored in" in ended.err


def test_merging_says_what_was_done_to_each_namespace(run: Run, gateway: str) -> None:
    ended = run("compact", gateway)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "orders: nothing to merge\n"
    half = run("compact", gateway, "a/b", "orders")
    assert half.code == 2
    assert half.out == "orders: nothing to merge\n", "whatever becomes of another one"
    assert half.err.startswith("parquedb: PATH_TRAVERSAL: ")
    assert json.loads(run("compact", gateway, "orders", "--json").out)["namespaces"]["orders"]["compactions"] == 0
