"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.support.fixtures"]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """One local Ray for all tests of this process; yields its address."""
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
