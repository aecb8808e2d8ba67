"""Opening a namespace: round trips, requests and time, after a short and after a long history."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.engines import NAMESPACE, Owner, make_owner
from benchmarks.table import Row, quantity
from benchmarks.throughput import document
from parquedb.actors.requests.operations import Operation

NAME = "opening"
BAR = ("<=", 3.0)
NOTE = (
    "An engine in this process on a local directory. A round trip begins when a request starts that an earlier one had "
    "to end for; counted up to the landing of our `open` entry. One more LIST then verifies that nobody came later, "
    "while the lease of a predecessor that vanished (250 ms) is waited out; a clean `close` spares the wait."
)


@dataclass(frozen=True)
class Opening:
    """One opening.

    Attributes:
        waves: Round trips up to the landing of the `open` entry.
        requests: Requests up to then.
        verifying: Requests after it, before the engine answers.
        wall_s: From the start until the engine answers.
    """

    waves: int
    requests: int
    verifying: int
    wall_s: float


def run(bench: Bench) -> list[Row]:
    """Measure."""
    rows = []
    for commits in (10, bench.choose(10_000, 1_000)):
        directory = bench.scratch / f"history{commits}"
        bench.run(write_history(directory, commits))
        openings: dict[str, list[Opening]] = {"owner vanished": [], "clean close": []}
        for _ in range(bench.choose(5, 2)):
            openings["owner vanished"].append(bench.run(open_once(directory, end_cleanly=True)))
            openings["clean close"].append(bench.run(open_once(directory, end_cleanly=False)))
        rows += [_row(commits, after, each) for after, each in openings.items()]
    return rows


def _row(commits: int, after: str, openings: list[Opening]) -> Row:
    waves = max(each.waves for each in openings)
    last = openings[-1]
    wall_ms = statistics.median(each.wall_s for each in openings) * 1000
    what = f"round trips to open after {quantity(commits)} commits, {after}"
    figure = f"{waves} ({last.requests} + {last.verifying} requests, {quantity(wall_ms)} ms)"
    return Row(what, figure, ratio=float(waves), bar=BAR, note=NOTE)


async def write_history(directory: Path, commits: int) -> None:
    """Make a history of commits of one document each; its owner vanishes."""
    owner = make_owner(directory)
    await owner.engine.open()
    for _ in range(commits):
        [outcome] = await owner.engine.execute([Operation("create", body=document())])
        outcome.result()
    await owner.end(cleanly=False)


async def open_once(directory: Path, *, end_cleanly: bool) -> Opening:
    owner = make_owner(directory)
    started_s = time.perf_counter()
    await owner.engine.open()
    wall_s = time.perf_counter() - started_s
    opening = _judged(owner, wall_s)
    await owner.end(cleanly=end_cleanly)
    return opening


def _judged(owner: Owner, wall_s: float) -> Opening:
    requests = owner.counted.requests
    landed = max(index for index, (operation, _, _) in enumerate(requests) if operation == "create")
    wave = requests[landed][2]
    # Segments load beside the create; the verifying LIST starts a wave of its own.
    until = [each for each in requests if each[2] <= wave]
    assert all(key.startswith(NAMESPACE) for _, key, _ in requests)
    return Opening(wave, len(until), len(requests) - len(until), wall_s)
