"""The command run in this process, and a gateway over owners of this process: everything but Ray."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

import parquedb
from parquedb.cluster.cli.main import main
from tests.support.gateway_server import GatewayServer

ORDERS = [
    {
        "$id": f"o{number:04}",
        "customer": ("Ada", "Grace", "Edsger")[number % 3],
        "city": ("Bern", "Zürich")[number % 2],
        "total": number / 4,
        "paid": number % 2 == 0,
        "placed": datetime(2026, 3, 1, number % 24, tzinfo=UTC),
    }
    for number in range(1_500)
]


@dataclass(frozen=True)
class Ended:
    """How a run of the command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process."""

    def ran(*words: str) -> Ended:
        code = main(words)
        told = capsys.readouterr()
        return Ended(code, told.out, told.err)

    return ran


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway with 1,500 orders; a module of tests shares it."""
    with GatewayServer(str(tmp_path_factory.mktemp("database"))) as server:
        with parquedb.connect(server.url) as database:
            database["orders"].create_many(ORDERS)
        yield server.url
