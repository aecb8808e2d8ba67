"""Owners that are told to end: found by what Ray calls them, waited for, and named when they live on."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from parquedb.cluster.deployment import handover

OBEDIENT = "import sys; print(flush=True); sys.stdin.read()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"


@contextmanager
def process(title: str, code: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [title, "-c", code]
    started = subprocess.Popen(command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert started.stdout is not None
        started.stdout.readline()  # It has set itself up.
        yield started
    finally:
        started.kill()
        started.communicate()


def test_owners_are_found_by_what_ray_calls_them() -> None:
    with process("ray::NamespaceActor.execute", OBEDIENT) as owner, process("ray::OtherActor", OBEDIENT) as other:
        found = set(handover.owners())
    assert owner.pid in found
    assert other.pid not in found


def test_owners_end_and_are_waited_for() -> None:
    with process("ray::NamespaceActor", OBEDIENT) as first, process("ray::NamespaceActor", OBEDIENT) as second:
        assert handover.hand_over([first.pid, second.pid]) == []
        assert [one.wait(timeout=5) for one in (first, second)] == [-15, -15]


def test_an_owner_that_lives_on_is_named_and_the_others_are_done() -> None:
    with process("ray::NamespaceActor", STUBBORN) as stubborn, process("ray::NamespaceActor", OBEDIENT) as other:
        assert handover.hand_over([stubborn.pid, other.pid], timeout_s=0.5) == [stubborn.pid]
        assert other.wait(timeout=5) == -15
        assert stubborn.poll() is None


def test_one_that_has_ended_in_the_meantime_is_no_trouble() -> None:
    with process("ray::NamespaceActor", OBEDIENT) as gone:
        gone.kill()
        gone.wait(timeout=5)
    assert handover.hand_over([gone.pid]) == []


def test_a_node_is_known_by_what_its_raylet_was_told() -> None:
    told = ["/opt/ray/raylet", "-c", OBEDIENT, "--node_id=abc", "--gcs-address=192.0.2.1:6379"]
    with subprocess.Popen(told, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as raylet:
        assert raylet.stdout is not None
        raylet.stdout.readline()
        assert handover.Node("abc", "192.0.2.1:6379") in set(handover.nodes())
        raylet.kill()


def test_a_cluster_that_cannot_be_told_is_no_reason_to_stay(monkeypatch) -> None:
    monkeypatch.setattr(handover, "DRAIN_TIMEOUT_S", 0.01)
    assert handover.drain(handover.Node("abc", "192.0.2.1:6379"), 60) is False
