"""A Ray of several nodes on one machine, in a process of its own.

    python -m tests.support.chaos.ray_cluster '{"folder": "/short/path", "nodes": 2, "settings": {...}}'

It ends, and its Ray with it, when stdin closes. Commands: `describe`, `owners`, `dismiss` (them), `replace` (a
node that was killed).
"""

import json
import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.chaos.processes import own_stdout
from tests.support.chaos.schedule import NAMESPACES

OBJECT_STORE_BYTES = 80 << 20
QUESTION_S = 3.0
"""How long an owner may take to say which process it is."""

HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}
"""Environment: a dead node is known as such after two seconds; by default it takes up to half a minute."""


def lose_calls(percent: int) -> dict[str, str]:
    """Return the environment under which Ray 2.60 loses calls inside itself, in each process of its own and of ours.

    Args:
        percent: Share of calls to actors of which the request gets lost, and the same of which the reply does, and of
            which the connection breaks while they run. Questions to the head, which Ray repeats, are lost as often.
    """
    if not percent:
        return {}
    lost = {
        "num_failures": 200,
        "req_failure_prob": percent,
        "resp_failure_prob": percent,
        "in_flight_failure_prob": percent,
    }
    calls = ["CoreWorkerService.grpc_client.PushTask"]
    calls += [
        f"ray::rpc::ActorInfoGcsService.grpc_client.{call}"
        for call in ("RegisterActor", "CreateActor", "GetActorInfo", "GetNamedActorInfo")
    ]
    calls += [f"NodeManagerService.grpc_client.{call}" for call in ("RequestWorkerLease", "ReturnWorkerLease")]
    return {
        "RAY_testing_rpc_failure": json.dumps(dict.fromkeys(calls, lost)),
        # All our nodes have one address, and Ray spares calls within a node otherwise.
        "RAY_testing_rpc_failure_avoid_intra_node_failures": "0",
    }


def calls_lost(folder: Path) -> int:
    """Return how many calls Ray has lost on purpose, by its own logs."""
    logs = (path for path in folder.glob("**/logs/*") if path.is_file())
    return sum(path.read_bytes().count(b"Inject RPC ") for path in logs)


class RayCluster:
    """The head, which also serves the drivers, and nodes that may be killed."""

    def __init__(self, task: dict[str, Any]) -> None:
        # A folder of its own: in the usual one Ray leaves its address, and other programs would join it.
        os.environ["RAY_TMPDIR"] = task["folder"]
        import ray  # noqa: PLC0415 - after the environment is set
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - as above

        from parquedb.settings.environment import load_settings  # noqa: PLC0415 - as above

        self._settings = load_settings(**task["settings"])
        common = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}
        self._cluster = Cluster(initialize_head=True, head_node_args={**common, "include_dashboard": False})
        self._common = common
        self._nodes = [self._cluster.add_node(**common) for _ in range(task["nodes"])]
        ray.init(address=self._cluster.address, namespace="parquedb", log_to_driver=False, configure_logging=False)

    def describe(self) -> dict[str, Any]:
        """Return the address, and of each node that may be killed the id of its raylet's process."""
        return {"address": self._cluster.address, "raylets": [_raylet_of(node) for node in self._nodes]}

    def replace(self, index: int) -> dict[str, Any]:
        """Clear away what is left of a node and start another one."""
        self._cluster.remove_node(self._nodes[index], allow_graceful=False)
        self._nodes[index] = self._cluster.add_node(**self._common)
        return self.describe()

    def owners(self) -> dict[str, Any]:
        """Return the process id of each namespace's owner, of those that say so."""
        import ray  # noqa: PLC0415 - as above
        from ray.exceptions import RayError  # noqa: PLC0415 - as above

        from parquedb.cluster.runtime.placement import find  # noqa: PLC0415 - as above

        handles = {namespace: find(self._settings, namespace) for namespace in NAMESPACES}
        replies = {namespace: handle.stats.remote() for namespace, handle in handles.items() if handle is not None}
        ray.wait(list(replies.values()), num_returns=len(replies), timeout=QUESTION_S)
        pids: dict[str, int] = {}
        for namespace, reply in replies.items():
            try:
                pids[namespace] = ray.get(reply, timeout=0.01)["pid"]
            except RayError:
                continue  # Dead, frozen, or its reply got lost.
        return {"pids": pids}

    def dismiss(self) -> dict[str, Any]:
        """End every owner for good, without a farewell."""
        import ray  # noqa: PLC0415 - as above
        from ray.util import list_named_actors  # noqa: PLC0415 - as above

        for each in list_named_actors(all_namespaces=True):
            ray.kill(ray.get_actor(each["name"], each["namespace"]), no_restart=True)
        return {}

    def close(self) -> None:
        """End it all."""
        import ray  # noqa: PLC0415 - as above

        ray.shutdown()
        self._cluster.shutdown()


def _raylet_of(node: Any) -> int:
    pid: int = node.all_processes["raylet"][0].process.pid
    return pid


def _serve(cluster: RayCluster, say: Any) -> None:
    """Answer commands until stdin closes; only changes of nodes, which take seconds, need the main thread."""
    changes: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def answer(command: dict[str, Any]) -> None:
        number, name = command.pop("id"), command.pop("do")
        try:
            say({"id": number, **getattr(cluster, name)(**command)})
        except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
            say({"id": number, "error": f"{type(error).__name__}: {error}"})

    def listen() -> None:
        with ThreadPoolExecutor(4) as pool:
            for line in sys.stdin:
                command = json.loads(line)
                if command["do"] == "replace":
                    changes.put(command)
                else:
                    pool.submit(answer, command)
        changes.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while (command := changes.get()) is not None:
        answer(command)


def _main() -> None:
    say = own_stdout()
    cluster = RayCluster(json.loads(sys.argv[1]))
    try:
        say({"event": "ready"})
        _serve(cluster, say)
    finally:
        cluster.close()


if __name__ == "__main__":
    _main()
