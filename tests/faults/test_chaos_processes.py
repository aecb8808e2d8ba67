"""A slice of chaos leaves no process behind, not even one whose parent was killed."""

import subprocess
import sys
from pathlib import Path

from tests.support.chaos.processes import ROOT

PROGRAM = """
import signal, subprocess
from tests.support.chaos.processes import adopt_orphans, descendants, kill, kill_descendants

adopt_orphans()
shell = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
orphan = int(shell.stdout.readline())
assert descendants(shell.pid) == [orphan]
kill(shell.pid, signal.SIGKILL)
shell.wait()
assert kill_descendants() == [orphan]
print(orphan)
"""


def test_an_orphan_is_found_and_killed() -> None:
    program = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert not Path(f"/proc/{int(ended.stdout)}").exists()
