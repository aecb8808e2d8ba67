"""What the pages of the documentation leave behind."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _owners_end_with_their_page(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each page and example has a database of its own; nobody asks its owners again."""
    yield
    if "ray_cluster" in request.fixturenames:
        from tests.support.owners import end_owners  # noqa: PLC0415 - imports Ray's half

        end_owners()
