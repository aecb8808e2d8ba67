"""Ray's own token: the Ray that `connect` starts asks for it, and `connect` reaches a cluster that does."""

import os
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
    import os, sys, parquedb, ray
    with parquedb.connect(sys.argv[1]) as db:
        db.create("posts", {}, id="a")
        print("at", ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_MODE"], flush=True)
        sys.stdin.readline()
"""
GUEST = """
    import sys, parquedb
    try:
        print(parquedb.connect(sys.argv[1], ray_address=sys.argv[2]).get("posts", "a")["version"])
    except parquedb.errors.RpcUnavailableError as error:
        print(error)
"""


class Cluster:
    """A Ray that `connect` has started, for a user with an empty home."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.data = str(folder / "data")
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HEAD), self.data],
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = next((line for line in self.process.stdout if line.startswith("at ")), "")
        _, self.address, self.mode = said.split()

    def environment(self, **more: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        # Ray would knock for 20 s where it is not let in.
        return own | {"HOME": str(self.home), "PYTHONPATH": str(ROOT), "RAY_NUM_REDIS_GET_RETRIES": "2"} | more

    def guest(self, **environment: str) -> str:
        """What a program of another environment is told that joins this cluster by its address."""
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(GUEST), self.data, self.address],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("tokens"))
    yield started
    started.process.communicate("\n", timeout=60)


def test_a_ray_that_connect_starts_asks_for_a_token(cluster: Cluster) -> None:
    assert cluster.mode == "token"
    assert (cluster.home / ".ray" / "auth_token").is_file()


def test_a_database_is_reached_with_the_token_however_it_is_told(cluster: Cluster) -> None:
    token = cluster.home / ".ray" / "auth_token"
    assert cluster.guest(RAY_AUTH_MODE="token") == "1"
    assert cluster.guest(RAY_AUTH_MODE="token", HOME="/", RAY_AUTH_TOKEN=token.read_text()) == "1"


@pytest.mark.parametrize("environment", [{"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_AUTH_MODE": "token"}, {}])
def test_a_call_with_a_wrong_token_or_none_is_refused_and_says_what_to_set(
    environment: dict[str, str], cluster: Cluster
) -> None:
    told = cluster.guest(**environment)
    assert "no Ray cluster could be reached" in told
    assert "RAY_AUTH_TOKEN" in told
    assert environment.get("RAY_AUTH_TOKEN", "no such token") not in told
