"""The stage of every script: on memory, on a directory and on a real S3 server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.backends.memory import MemoryBackend, forget
from parquedb.storage.backends.s3 import S3Backend
from parquedb.storage.backends.s3_client import S3Options
from tests.support.s3_servers import S3Server
from tests.support.stage import Stage


@pytest.fixture(params=["memory", "directory", pytest.param("s3", marks=pytest.mark.faults)])
async def stage(request: pytest.FixtureRequest, tmp_path: Path, unique_prefix: str) -> AsyncIterator[Stage]:
    """A stage; when the script has come to its end, what it left is held against what callers were told."""
    server: S3Server | None = request.getfixturevalue("weed") if request.param == "s3" else None

    def open_store() -> StorageBackend:
        if request.param == "memory":
            return MemoryBackend(unique_prefix)
        if server is None:
            return LocalBackend(tmp_path / "db", threads_max=4)
        options = S3Options(endpoint_url=server.endpoint_url, key=server.key, secret=server.secret)
        return S3Backend(server.bucket, unique_prefix, options=options)

    made = Stage(open_store)
    try:
        yield made
        await made.last_look()
    finally:
        await made.close()
        forget(unique_prefix)
