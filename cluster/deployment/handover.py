"""The owners of a node say goodbye before it ends: `python -m parquedb.cluster.deployment.handover`.

For the `preStop` hook of a container, and for whoever takes a machine out of service. An owner that is told to end
finishes what it is at and writes `close` to its log, so that the next one need not wait until it is sure that this one
is gone (0.25 s). `ray stop` and the end of a container leave no time for that. Nothing depends on it: an owner that was
killed loses nothing that it acknowledged.

Ray starts these owners again at once. Told before that this node will end, it does so on another one; where it cannot
be told, an owner may start here again, but owns nothing until somebody calls it.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 15.0
"""Seconds that owners have in all; containers are given more than this (`terminationGracePeriodSeconds`)."""

_TITLE: Final = "ray::NamespaceActor"
"""How Ray calls the processes of owners, with the running method behind it."""


DRAIN_TIMEOUT_S: Final = 15.0
"""Seconds for telling Ray."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Ray node that runs on this machine.

    Attributes:
        id: What Ray calls it.
        address: Of its cluster.
    """

    id: str
    address: str


def owners() -> Iterator[int]:
    """Yield the process ids of the owners on this machine (in a container: those in it)."""
    return (pid for pid, command in _processes() if command[0].startswith(_TITLE))


def nodes() -> Iterator[Node]:
    """Yield the Ray nodes on this machine: one, but for tests."""
    for _, command in _processes():
        options = dict(part.split("=", 1) for part in command[1:] if part.startswith("--") and "=" in part)
        if Path(command[0]).name == "raylet" and {"--node_id", "--gcs-address"} <= options.keys():
            yield Node(options["--node_id"], options["--gcs-address"])


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_text(errors="replace").split("\0")
        except OSError:
            continue  # It has ended, or is somebody else's.
        yield int(entry.name), command


def drain(node: Node, ending_s: float) -> bool:
    """Tell Ray that a node will end, so that it starts nothing there any more.

    Args:
        node: Not the head's, which Ray does not drain.
        ending_s: Seconds until then.

    Returns:
        Whether Ray has agreed. The command is not among those that Ray promises to keep.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
    command += ["--address", node.address, "--node-id", node.id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "its owners are handed over", "--deadline-remaining-seconds", str(round(ending_s))]
    try:
        return not subprocess.run(command, capture_output=True, timeout=DRAIN_TIMEOUT_S, check=False).returncode  # noqa: S603 - spelt out
    except subprocess.TimeoutExpired:
        return False


def hand_over(pids: list[int], timeout_s: float = TIMEOUT_S) -> list[int]:
    """Tell owners to end, and wait until they have.

    Args:
        pids: Their processes, of this user.
        timeout_s: Seconds for all of them together.

    Returns:
        Those that live on.
    """
    with selectors.DefaultSelector() as ended:
        for pid in pids:
            try:
                # Opened first: another process may get the number, but never this file.
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            ended.register(descriptor, selectors.EVENT_READ, pid)
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        deadline_s = time.monotonic() + timeout_s
        while ended.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            for key, _ in ended.select(left_s):
                ended.unregister(key.fd)
                os.close(key.fd)
        living = [(key.fd, key.data) for key in ended.get_map().values()]
        for descriptor, _ in living:
            os.close(descriptor)
        return [pid for _, pid in living]


def main() -> int:
    """Hand over what this machine owns; return the exit code."""
    here, found = list(nodes()), list(owners())
    # Of several nodes on one machine nobody has said which one will end.
    if found and len(here) == 1:
        drain(here[0], TIMEOUT_S + DRAIN_TIMEOUT_S)
    living = hand_over(found)
    sys.stdout.write(f"{len(found) - len(living)} of {len(found)} owners on this node have closed their namespaces\n")
    return 1 if living else 0


if __name__ == "__main__":
    sys.exit(main())
