"""Which URL opens which backend, and what is said about the others."""

from pathlib import Path

import pytest

from parquedb.errors import ConfigurationError
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backends.s3 import S3Backend
from parquedb.storage.open import open_backend, open_fallback


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def settings_for(url: str, **more: object) -> Settings:
    # As settings arrive, without the check of the URL that loading makes: this one must hold alone.
    return load_settings("memory://x", **more).model_copy(update={"url": url})


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("data", "data"),
        ("./a/b", "a/b"),
        ("file://{here}/f", "f"),
        ("file://localhost{here}/f%20g", "f g"),
        ("{here}/abs", "abs"),
        ("~/db", "home/db"),
    ],
)
async def test_a_path_opens_a_directory_that_is_made(url: str, made: str, tmp_path: Path) -> None:
    backend = open_backend(settings_for(url.format(here=tmp_path)))
    assert isinstance(backend, LocalBackend)
    assert (tmp_path / made / "~tmp").is_dir()
    await backend.create("ns/log/1", b"x")
    assert (tmp_path / made / "ns/log/1").read_bytes() == b"x"
    await backend.close()


async def test_a_memory_name_is_shared_in_the_process_and_no_name_is_private() -> None:
    one, two = open_backend(settings_for("memory://shared-1")), open_backend(settings_for("memory://shared-1"))
    assert isinstance(one, MemoryBackend)
    await one.create("ns/log/1", b"x")
    assert await two.read("ns/log/1") == b"x"
    assert not await open_backend(settings_for("memory://other-1")).exists("ns/log/1")
    assert not await open_backend(settings_for("memory://")).exists("ns/log/1")


def test_an_s3_prefix_is_used_literally_without_stray_slashes() -> None:
    secret = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}
    for url, bucket, root in (
        ("s3://my-bucket", "my-bucket", ""),
        ("s3://my-bucket/", "my-bucket", ""),
        ("s3://my.bucket/a//b/", "my.bucket", "a/b/"),
        ("s3://my-bucket/%2e%2e/A b", "my-bucket", "%2e%2e/A b/"),
    ):
        backend = open_backend(settings_for(url, **secret))
        assert isinstance(backend, S3Backend)
        assert (backend._bucket, backend._root) == (bucket, root)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "http://example.com/db",
        "gs://bucket/x",
        "s3:bucket/x",
        "s3://",
        "s3:///prefix",
        "s3://b",
        "s3://bucket/../x",
        "s3://bucket/a/./b",
        "s3://bucket/a?versionId=1",
        "s3://bucket/a\\..\\b",
        "s3://bucket/a\0b",
        "s3://bucket/" + "a" * 301,
        "memory://a/b",
        "memory:a",
        "file://otherhost/x",
        "file:relative",
        "file:///x?y",
        "a\0b",
    ],
)
def test_any_other_url_is_refused_with_the_accepted_forms(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_backend(settings_for(url))
    assert caught.value.setting == "url"
    assert "use a directory path, file:///absolute/path, s3://bucket/prefix or memory://name" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_backend(settings_for("s3://AKIAKEY:topsecret@bucket/x"))
    assert "topsecret" not in repr(caught.value)
    assert "topsecret" not in str(caught.value.to_json())


@pytest.mark.parametrize(("given", "missing"), [("key", "secret"), ("secret", "key")])
def test_half_of_the_credentials_is_refused(given: str, missing: str) -> None:
    settings = settings_for("s3://my-bucket", key="k", secret="s").model_copy(update={missing: None})
    with pytest.raises(ConfigurationError, match=f"need both key and secret; {missing} is missing") as caught:
        open_backend(settings)
    assert caught.value.setting == missing


def test_a_directory_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for url in ("file", "file/below"):
        with pytest.raises(ConfigurationError, match=r"cannot be used: (File exists|Not a directory)"):
            open_backend(settings_for(url))


def test_a_replica_is_reached_as_the_database_is_unless_told_otherwise() -> None:
    s3 = {"key": "k", "secret": "s", "endpoint_url": "http://here:1", "region": "eu-1"}
    assert open_fallback(settings_for("s3://my-bucket", **s3)) is None
    near = open_fallback(settings_for("s3://my-bucket", **s3, storage={"read_fallback_url": "s3://my-copy/x"}))
    elsewhere = {"read_fallback_endpoint_url": "http://there:1", "read_fallback_region": "us-9"}
    far = open_fallback(settings_for("s3://a-b-c", **s3, storage={"read_fallback_url": "s3://my-copy", **elsewhere}))
    assert isinstance(near, S3Backend)
    assert isinstance(far, S3Backend)
    reached = [(each._bucket, each._client._options.endpoint_url, each._client._options.region) for each in (near, far)]
    assert reached == [("my-copy", "http://here:1", "eu-1"), ("my-copy", "http://there:1", "us-9")]
    assert far._client._options.secret == "s"


@pytest.mark.parametrize(
    ("setting", "value"),
    [("read_fallback_url", "ftp://x"), ("read_fallback_url", "s3://k:s@b"), ("read_fallback_endpoint_url", "there:1")],
)
def test_a_replica_that_cannot_be_one_is_refused_by_the_settings(setting: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_for("s3://my-bucket", storage={setting: value})
    assert caught.value.setting == f"PARQUEDB_STORAGE__{setting.upper()}"
