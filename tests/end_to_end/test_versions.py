"""Owners that are started by a process of another version."""

from pathlib import Path

import pytest
import ray

from parquedb.cluster.runtime.placement import find
from parquedb.cluster.transport.calls import NamespaceCalls
from parquedb.errors import RpcUnavailableError
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings


def of_a_later_version(url: Path, *, asked: bool) -> Settings:
    """Settings with one that this version does not know."""
    settings = load_settings(url)
    settings.__dict__["warp"] = 9
    if asked:
        settings.__pydantic_fields_set__.add("warp")
    return settings


def test_an_owner_is_not_started_with_a_setting_that_it_does_not_know(ray_cluster: str, tmp_path: Path) -> None:
    calls = NamespaceCalls(of_a_later_version(tmp_path / "db", asked=True), "posts")
    with pytest.raises(RpcUnavailableError, match="'warp' of Settings was set in a process with a later version"):
        calls.activate(0, 60.0)


def test_an_owner_starts_where_nobody_has_asked_for_what_it_does_not_know(ray_cluster: str, tmp_path: Path) -> None:
    settings = of_a_later_version(tmp_path / "db", asked=False)
    calls = NamespaceCalls(settings, "posts")
    try:
        calls.activate(0, 60.0)
        assert calls.generation == 1
    finally:
        ray.kill(find(settings, "posts"))
