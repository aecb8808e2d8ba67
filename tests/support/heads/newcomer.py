"""A program that wants namespaces nobody has asked for yet, and asks the cluster who serves the known ones.

    python -m tests.support.heads.newcomer '{"node_ip": "127.0.0.3", "settings": {...}}'

Commands: `create` (a document in a namespace, within a time), `health` (of the database), `owner` (of a namespace,
found by its name).
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import parquedb
from parquedb.errors import ParqueDBError
from tests.support.chaos.client import join_from
from tests.support.chaos.processes import own_stdout


class Newcomer:
    """The program."""

    def __init__(self, database: parquedb.Database) -> None:
        self._database = database

    def create(self, namespace: str, patience_s: float) -> dict[str, Any]:
        """Create a document in a namespace; return the error, if there was one, and how long it took."""
        began_s = time.monotonic()
        error, retryable = "", False
        try:
            self._database[namespace].create({"a": 1}, timeout_s=patience_s)
        except ParqueDBError as refused:
            error, retryable = f"{type(refused).__name__}: {refused}", refused.retryable
        return {"refusal": error, "retryable": retryable, "took_s": time.monotonic() - began_s}

    def health(self) -> dict[str, Any]:
        """Return how the database is."""
        found = self._database.health()
        return {"status": found.status, "owners": {name: owner.status for name, owner in found.owners.items()}}

    def owner(self, namespace: str) -> dict[str, Any]:
        """Return the process of the actor that the name of a namespace leads to."""
        from parquedb.cluster.runtime.placement import find  # noqa: PLC0415 - it imports Ray

        handle = find(self._database.settings, namespace)
        if handle is None:
            return {"pid": 0}
        import ray  # noqa: PLC0415 - as above

        return {"pid": ray.get(handle.stats.remote(), timeout=30)["pid"]}


def _main() -> None:
    say, task = own_stdout(), json.loads(sys.argv[1])
    join_from(task["node_ip"], task["settings"]["ray_address"])
    newcomer = Newcomer(parquedb.connect(**task["settings"]))
    say({"event": "ready"})

    def answer(command: dict[str, Any]) -> None:
        number, name = command.pop("id"), command.pop("do")
        try:
            say({"id": number, **getattr(newcomer, name)(**command)})
        except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
            say({"id": number, "failed": f"{type(error).__name__}: {error}"})

    with ThreadPoolExecutor(8) as pool:
        for line in sys.stdin:
            pool.submit(answer, json.loads(line))


if __name__ == "__main__":
    _main()
