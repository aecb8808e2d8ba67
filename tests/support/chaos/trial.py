"""Slices as processes of their own: one, or many after each other."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import count

from tests.support.chaos.processes import ROOT
from tests.support.chaos.schedule import DISK, S3
from tests.support.chaos.stores import UNSHARE
from tests.support.chaos.summary import Summary, Task

OVERHEAD_S = 300.0
"""Longest time that a slice may take for starting, quiet, verdict and tidying up."""

PLAN = ((S3, 0), (DISK, 2), (S3, 2), (DISK, 0))
"""Places of successive slices, and how many percent of Ray's calls get lost there."""


def slices(seed: int, seconds: float) -> Iterator[Task]:
    """Yield the slices that follow from a seed, without end."""
    for number in count():
        place, lost_percent = PLAN[number % len(PLAN)]
        yield Task(seed * 1000 + number, place, seconds, lost_percent)


def run_slice(task: Task, say: Callable[[str], None] = print) -> Summary:
    """Run a slice in a process of its own; `say` gets its lines as they come.

    Raises:
        RuntimeError: it came to no summary.
    """
    command = [sys.executable, "-m", f"{__package__}.slice", json.dumps(asdict(task))]
    if task.place == DISK:
        command = [*UNSHARE, *command]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                last = line
            else:
                say(line.rstrip("\n"))
    if not last:
        raise RuntimeError(f"the slice of {task} ended with exit code {process.returncode} and without a summary")
    return Summary(**json.loads(last))
