"""Fixtures that several test folders share; a pytest plugin named in the root `conftest.py`."""

import uuid
from collections.abc import Iterator

import pytest

# The contract suite ships with the package, where pytest explains no failed assertion unless told to.
pytest.register_assert_rewrite("parquedb.storage.testing")

from tests.support.fault_proxy import FaultProxy  # noqa: E402 - see above
from tests.support.s3_servers import S3Server, start_moto, start_weed  # noqa: E402 - see above


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS). One bucket for all: use `unique_prefix`."""
    server = start_weed(tmp_path_factory.mktemp("weed"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """A light S3 server. One bucket for all: use `unique_prefix`."""
    server = start_moto()
    yield server
    server.stop()


@pytest.fixture
def unique_prefix() -> str:
    """A folder of the bucket that no other test uses."""
    return f"t-{uuid.uuid4().hex}"


@pytest.fixture
def moto_proxy(moto: S3Server) -> Iterator[FaultProxy]:
    """A fault proxy in front of the light server."""
    with FaultProxy(moto.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def weed_proxy(weed: S3Server) -> Iterator[FaultProxy]:
    """A fault proxy in front of the real server."""
    with FaultProxy(weed.endpoint_url) as proxy:
        yield proxy
