from pathlib import Path

import pytest

from parquedb.cluster.runtime.naming import actor_name, canonical_url, namespace_of, resolve
from parquedb.errors import ConfigurationError
from parquedb.settings.environment import load_settings


def test_every_way_to_write_a_directory_leads_to_one_actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("data")
    urls = ["data", "./data/", str(tmp_path / "data"), f"file://{tmp_path}/data", "x/../data", "link"]
    assert {actor_name(load_settings(url), "posts") for url in urls} == {actor_name(load_settings("data"), "posts")}


def test_slashes_in_a_bucket_url_do_not_matter() -> None:
    assert canonical_url("s3://bucket//a/b/") == "s3://bucket/a/b"
    assert canonical_url("s3://bucket/") == "s3://bucket"
    assert canonical_url("memory://x") == "memory://x"


def test_database_endpoint_and_namespace_each_make_another_actor() -> None:
    names = {
        actor_name(load_settings("s3://a"), "posts"),
        actor_name(load_settings("s3://b"), "posts"),
        actor_name(load_settings("s3://a", endpoint_url="http://localhost:1"), "posts"),
        actor_name(load_settings("s3://a"), "Posts"),
    }
    assert len(names) == 4


def test_credentials_do_not_change_the_actor() -> None:
    bare = load_settings("s3://a", endpoint_url="http://localhost:1/")
    keyed = load_settings("s3://a", endpoint_url="http://localhost:1", key="k", secret="s")
    assert actor_name(bare, "posts") == actor_name(keyed, "posts")


@pytest.mark.parametrize("namespace", ["posts", "Ä b%2e", "a..b", "tenant:1"])
def test_the_namespace_can_be_read_from_the_name(namespace: str) -> None:
    settings = load_settings("s3://a")
    assert namespace_of(settings, actor_name(settings, namespace)) == namespace
    assert namespace_of(load_settings("s3://b"), actor_name(settings, namespace)) is None
    assert namespace_of(settings, "somebody else's") is None


@pytest.mark.parametrize("url", ["ftp://x", "s3://", "file://host/x"])
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected|three slashes"):
        canonical_url(url)


def test_a_replica_in_a_directory_is_the_same_one_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = resolve(load_settings("data", storage={"read_fallback_url": "copy"}))
    assert (resolved.url, resolved.storage.read_fallback_url) == (str(tmp_path / "data"), str(tmp_path / "copy"))
