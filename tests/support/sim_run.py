"""The simulation from the command line: seeds on all processors, drills, the planted bugs, one seed replayed.

    python -m tests.support.sim_run --seeds 10000      seeds 0 to 9999, and every drill
    python -m tests.support.sim_run --seeds 2000-4000
    python -m tests.support.sim_run --bugs             each planted bug: seeds allowed, found at, what was said first
    python -m tests.support.sim_run --replay 1234      everything that happened in one seed

It ends with 1 when something was found that must not be (or a planted bug was not found).
"""

import argparse
import gc
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

from tests.support.planted_bugs_data import BUGS
from tests.support.sim_drills import ROLES, STOPS, Stop, drill
from tests.support.sim_matrix import Found, budgets, found_at
from tests.support.simulation import Verdict, simulate

T, R = TypeVar("T"), TypeVar("R")

BUG_SEEDS_MAX = 500
_SHOWN = 3
_CHUNK = 4
_LINE_CHARS = 240

console = Console(highlight=False, soft_wrap=True, emoji=False)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description="Run the deterministic simulation.")
    parser.add_argument("--seeds", default="2000", help="how many from 0 on, or FIRST-LAST (last not included)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--bugs", nargs="*", metavar="BUG", help="look for planted bugs (all, or those named)")
    parser.add_argument("--no-drills", action="store_true", help="only the seeds")
    parser.add_argument("--replay", type=int, metavar="SEED", help="print everything that happens in one seed")
    options = parser.parse_args(arguments)
    _prepare()
    if options.replay is not None:
        return _replay(options.replay)
    if options.bugs is not None:
        return _bugs(options.bugs or list(BUGS), options.jobs)
    broken = _seeds(seed_range(options.seeds), options.jobs)
    return broken if options.no_drills else max(broken, _drills(options.jobs))


def seed_range(text: str) -> range:
    """Read `4000` (0 to 3999) or `2000-4000`."""
    first, dash, last = text.rpartition("-")
    return range(int(first) if dash else 0, int(last))


def _prepare() -> None:
    """Set up a process that runs many seeds."""
    # The engine logs every fence it meets; here that is thousands.
    logging.getLogger("parquedb").setLevel(logging.CRITICAL)
    # What is loaded stays; collecting it again and again takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _each(work: Callable[[T], R], items: Iterable[T], jobs: int, chunk: int) -> Iterator[R]:
    """Do work on all processors; results come as they are ready."""
    if jobs == 1:
        yield from map(work, items)
        return
    pool = multiprocessing.get_context("spawn").Pool(jobs, initializer=_prepare)
    with closing(pool):
        yield from pool.imap_unordered(work, items, chunk)


def _watched(results: Iterator[R], total: int, what: str) -> Iterator[R]:
    return iter(track(results, what, total, console=console, update_period=0.5))


def _seeds(seeds: range, jobs: int) -> int:
    started_s, counts, broken = time.monotonic(), Counter[str](), []
    results = _each(simulate, seeds, jobs, _CHUNK)
    for verdict in _watched(results, len(seeds), f"seeds {seeds.start} to {seeds.stop - 1}"):
        counts.update({"acknowledged": verdict.acknowledged, "zombies": verdict.zombies, **verdict.counts})
        if verdict.violations:
            broken.append(verdict.seed)
            _show(f"seed {verdict.seed}", verdict)
    took_s = time.monotonic() - started_s
    console.print(f"{len(seeds):,} seeds in {took_s:.0f} s, {len(broken)} of them broken")
    console.print("together: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    if broken:
        console.print(f"broken: {sorted(broken)}; all of one: make test-sim ARGS='--replay {min(broken)}'")
    return int(bool(broken))


def _show(what: str, verdict: Verdict) -> None:
    console.print(f"{what} breaks a promise, {len(verdict.violations)} times:")
    for violation in verdict.violations[:_SHOWN]:
        console.print(f"    {violation[:_LINE_CHARS]}", markup=False)


def _drills(jobs: int) -> int:
    kinds = [(role, stop) for role in ROLES for stop in STOPS]
    broken = steps = 0
    for (role, stop), verdicts in _watched(_each(all_steps, kinds, jobs, 1), len(kinds), "drills"):
        steps += len(verdicts)
        for step, verdict in enumerate(verdicts, 1):
            if verdict.violations:
                broken += 1
                _show(f"{role}, {stop} at step {step},", verdict)
    console.print(f"{steps} drills ({', '.join(ROLES)}; {' and '.join(STOPS)} at every step), {broken} of them broken")
    return int(bool(broken))


def all_steps(kind: tuple[str, Stop]) -> tuple[tuple[str, Stop], list[Verdict]]:
    """Run the drills of one role with one kind of stop, at every step there is."""
    verdicts: list[Verdict] = []
    while True:
        verdict, stopped = drill(kind[0], len(verdicts) + 1, kind[1])
        verdicts.append(verdict)
        if not stopped:
            return kind, verdicts


def _bugs(bugs: list[str], jobs: int) -> int:
    allowed = budgets()
    lost = []
    results = _each(partial(_find, allowed), bugs, jobs, 1)
    for bug, found in _watched(results, len(bugs), "planted bugs"):
        seeds = allowed.get(bug, BUG_SEEDS_MAX)
        where = "nowhere" if found is None else str(found.seed)
        said = "" if found is None else found.violation[:_LINE_CHARS]
        console.print(f"| {bug} | {seeds} | {where} | {said}", markup=False)
        if found is None or found.is_stumble or found.seed >= seeds:
            lost.append(bug)
    if lost:
        console.print(f"not found: {', '.join(lost)}")
    return int(bool(lost))


def _find(allowed: dict[str, int], bug: str) -> tuple[str, Found | None]:
    return bug, found_at(bug, max(BUG_SEEDS_MAX, allowed.get(bug, 0)))


def _replay(seed: int) -> int:
    verdict = simulate(seed, traced=True)
    for line in verdict.trace:
        console.print(line, markup=False)
    facts: dict[str, Any] = {"trace": verdict.trace_hash, "acknowledged": verdict.acknowledged, **verdict.counts}
    console.print(f"seed {seed}: {facts}", markup=False)
    return int(bool(verdict.violations))


if __name__ == "__main__":
    sys.exit(main())
