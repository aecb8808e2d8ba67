"""The programs of Prometheus, once for all tests here."""

import pytest

from tests.support.prometheus import Programs, UnavailableError, find_programs


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Prometheus and promtool; tests that need them are skipped where they cannot be had."""
    try:
        return find_programs()
    except UnavailableError as error:
        pytest.skip(str(error))
