"""Fixtures for all tests."""

import os
import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.support.fixtures"]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """One local Ray for all tests of this process; yields its address."""
    # As ours does, so that owners need not wait for whatever other tests compute.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray  # noqa: PLC0415 - seconds, which tests without Ray should not pay

    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        namespace="parquedb",
    )
    yield context.address_info["address"]
    ray.shutdown()


@pytest.fixture(scope="module", autouse=True)
def _owners_end_with_their_module() -> Iterator[None]:
    """Owners stay when a database is closed; hundreds of them would be idle in the one Ray of all tests, at a cost."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        from tests.support.owners import end_owners  # noqa: PLC0415 - imports Ray's half

        end_owners()
