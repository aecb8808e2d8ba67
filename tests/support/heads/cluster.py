"""A cluster of real processes: a Redis, a head without owners, and nodes that owners run on.

Linux only: each node has a loopback address of its own, so that drivers can say which one they belong to.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.chaos.processes import descendants, kill
from tests.support.heads.redis_server import RedisServer, free_port
from tests.support.heads.waiting import until_listening

HEAD_IP = "127.0.0.2"
NODE_IPS = ("127.0.0.3", "127.0.0.4")
OBJECT_STORE_BYTES = 80 << 20
OWNERS = {"parquedb.dev/owners": "true"}
"""Name of the resource that nodes have which may run owners."""


class HeadCluster:
    """The processes of a cluster.

    Args:
        folder: Empty, with a short path: Ray puts sockets into it.
        program: Of a Redis server.
        nodes: How many nodes besides the head.
        environment: For all nodes.

    Attributes:
        address: Of the head, the same after a restart.
        redis: The server that keeps the head's state.
    """

    def __init__(
        self, folder: Path, program: str, *, nodes: int = 1, environment: dict[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._lives = 0
        self._port = free_port()
        self._nodes = nodes
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = inherited | {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"} | (environment or {})
        self.redis = RedisServer(folder / "redis", program)
        self.address = f"{HEAD_IP}:{self._port}"
        self._head: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start everything."""
        self.redis.start()
        self.start_head()
        for ip in NODE_IPS[: self._nodes]:
            labels = ",".join(f"{name}={value}" for name, value in OWNERS.items())
            resources = ["--num-cpus=1", f"--labels={labels}", f"--node-ip-address={ip}"]
            self._others.append(self._ray_start(f"node-{ip}", [f"--address={self.address}", *resources]))

    def start_head(self) -> None:
        """Start a head, as on a new machine that has the old one's address; its state is in Redis."""
        self._lives += 1
        folder = self._folder / f"h{self._lives}"
        kept = {"RAY_REDIS_ADDRESS": self.redis.address, "RAY_external_storage_namespace": "parquedb-test"}
        own = [f"--port={self._port}", f"--node-ip-address={HEAD_IP}", f"--temp-dir={folder}", "--num-cpus=0"]
        self._head = self._ray_start(f"head-{self._lives}", ["--head", "--include-dashboard=false", *own], kept)
        until_listening(HEAD_IP, self._port)

    def kill_gcs(self) -> None:
        """Kill the server that knows the cluster; `ray start --block` ends the rest of the head within a second."""
        assert self._head is not None
        [pid] = [each for each in descendants(self._head.pid) if _program_of(each) == "gcs_server"]
        kill(pid, signal.SIGKILL)
        self.head_gone()

    def kill_head(self) -> None:
        """Kill every process of the head at one blow."""
        assert self._head is not None
        _kill_all(self._head)
        self._head = None

    def head_has_ended(self) -> bool:
        """Whether there is no head just now."""
        return self._head is None or self._head.poll() is not None

    def head_gone(self, timeout_s: float = 60.0) -> None:
        """Return once the head has ended by itself, and what it left is cleared away."""
        assert self._head is not None
        left = descendants(self._head.pid)
        self._head.wait(timeout_s)
        for pid in left:
            kill(pid, signal.SIGKILL)
        self._head = None

    def close(self) -> None:
        """Kill everything."""
        for process in [*self._others, *([self._head] if self._head else [])]:
            _kill_all(process)
        self.redis.kill()

    def _ray_start(
        self, name: str, arguments: list[str], more: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        program = Path(sys.executable).with_name("ray")
        common = ["--block", "--disable-usage-stats", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(program), "start", *arguments, *common],
                env=self.environment | (more or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def _program_of(pid: int) -> str:
    try:
        return Path(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]).name
    except OSError:
        return ""


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    for pid in [process.pid, *descendants(process.pid)]:
        kill(pid, signal.SIGKILL)
    process.wait()
