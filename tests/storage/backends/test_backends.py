"""The storage contract against every backend, and against S3 through a slow network."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.backends.memory import MemoryBackend, forget
from parquedb.storage.backends.s3 import S3Backend
from parquedb.storage.backends.s3_client import S3Options
from parquedb.storage.testing import StorageContract
from tests.support.fault_proxy import FaultProxy
from tests.support.s3_servers import S3Server


class TestMemoryBackend(StorageContract):
    @pytest.fixture(autouse=True)
    def _place(self) -> Iterator[None]:
        self.place = uuid.uuid4().hex
        yield
        forget(self.place)

    def make_backend(self) -> StorageBackend:
        return MemoryBackend(self.place)


class TestLocalBackend(StorageContract):
    etag_in_lists = False

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> Iterator[None]:
        self.outside = tmp_path
        self.place = tmp_path / "db"
        yield
        assert [path.name for path in self.outside.iterdir()] in ([], ["db"]), "something landed outside the root"
        assert list(self.place.glob("~tmp/*")) == [], "temporary files stayed"

    def make_backend(self) -> StorageBackend:
        return LocalBackend(self.place)


class S3Contract(StorageContract):
    endpoint_url: str
    bucket: str
    prefix: str

    def make_backend(self) -> StorageBackend:
        options = S3Options(endpoint_url=self.endpoint_url, key="test", secret="testtest")
        return S3Backend(self.bucket, self.prefix, options=options)


class TestMoto(S3Contract):
    @pytest.fixture(autouse=True)
    def _place(self, moto: S3Server, unique_prefix: str) -> None:
        self.endpoint_url, self.bucket, self.prefix = moto.endpoint_url, moto.bucket, unique_prefix


class TestSeaweedFS(S3Contract):
    # It serialises rivals of one key with a polling lock: eight take seconds.
    racers = 3
    # It is a file system behind the scenes: folders sort as names without their slash, and empty ones linger.
    nested_order = False
    forgets_empty_folders = False

    @pytest.fixture(autouse=True)
    def _place(self, weed: S3Server, unique_prefix: str) -> None:
        self.endpoint_url, self.bucket, self.prefix = weed.endpoint_url, weed.bucket, unique_prefix


class TestMotoBehindASlowNetwork(S3Contract):
    @pytest.fixture(autouse=True)
    def _place(self, moto: S3Server, moto_proxy: FaultProxy, unique_prefix: str) -> None:
        moto_proxy.add("latency", delay_s=0.0, jitter_s=0.01)
        self.endpoint_url, self.bucket, self.prefix = moto_proxy.url, moto.bucket, unique_prefix


class TestSeaweedFSBehindAProxy(TestSeaweedFS):
    # Signatures are checked there: what the proxy forwards is what was signed.
    racers = 2

    @pytest.fixture(autouse=True)
    def _place(self, weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str) -> None:
        self.endpoint_url, self.bucket, self.prefix = weed_proxy.url, weed.bucket, unique_prefix
