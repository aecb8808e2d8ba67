"""Run the drills of the runbook: `python -m tests.drills [--only NAME]...`."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.drills.drill import Result, run_drill
from tests.drills.incidents import INCIDENTS, Incident
from tests.drills.runbook import entries
from tests.drills.stage import Ground
from tests.support.chaos.nodes import Nodes
from tests.support.chaos.processes import adopt_orphans, kill_descendants
from tests.support.chaos.ray_cluster import HEALTH_CHECKS
from tests.support.chaos.stores import UNSHARE, reason_without_disks
from tests.support.prometheus import UnavailableError, find_programs
from tests.support.s3_servers import start_weed

_INSIDE = "PARQUEDB_DRILLS_INSIDE"
"""Environment: it may mount disks. Ray and all its workers have to be below the same roof to see them."""


def main() -> int:
    """Run them; return 1 when one failed, 2 when none could be run."""
    parser = argparse.ArgumentParser(prog="make drills", description="The incidents of docs/runbook.md, for real.")
    names = [incident.name for incident in INCIDENTS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs of everything")
    options = parser.parse_args()
    wanted = [incident for incident in INCIDENTS if not options.only or incident.name in options.only]
    try:
        find_programs()
    except UnavailableError as error:
        print(f"no drill can be run: {error}")
        return 2
    no_disks = reason_without_disks()
    if not no_disks and _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, "-m", "tests.drills", *sys.argv[1:]])
    if no_disks:
        print(f"no small disk can be made here, so none gets full: {no_disks}")
        wanted = [incident for incident in wanted if not incident.on_disk]
    return asyncio.run(_run(wanted, keep=options.keep))


async def _run(wanted: Sequence[Incident], *, keep: bool) -> int:
    adopt_orphans()
    started_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="drills"))
    results = []
    nodes = Nodes(folder / "ray.log", {"url": "memory://drills"}, {**HEALTH_CHECKS, "RAY_worker_niceness": "0"})
    try:
        await nodes.start()
        (folder / "s3").mkdir()
        server = await asyncio.to_thread(start_weed, folder / "s3")
        ground = Ground(nodes, server, folder / "s3", find_programs())
        _say(f"one Ray and one S3 server are there, {time.monotonic() - started_s:.0f} s; files in {folder}")
        known = entries()
        for incident in wanted:
            result = await run_drill(ground, incident, known[incident.name], folder / incident.name, _say)
            _say(f"{result.name}: {'ok' if result.ok else 'FAILED'} after {result.took_s:.0f} s")
            results.append(result)
    finally:
        await nodes.kill()
        kill_descendants()
        failed = not results or not all(result.ok for result in results)
        if keep or failed:
            _say(f"logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(table(results), flush=True)
    print(f"{len(results)} drills in {time.monotonic() - started_s:.0f} s", flush=True)
    return int(failed)


def table(results: Sequence[Result]) -> str:
    """Return the results as lines, one a drill, and below it what was wrong with it."""
    lines = [f"{'incident':24} {'alert':28} {'fires':>7} {'ends':>7} {'acked':>6} {'unknown':>7}  ok"]
    for one in results:
        fired = "-" if one.fired_s is None else f"{one.fired_s:.1f} s"
        ended = "-" if one.ended_s is None else f"{one.ended_s:.1f} s"
        counts = f"{one.acknowledged:6} {one.unknown:7}"
        lines.append(f"{one.name:24} {one.alert:28} {fired:>7} {ended:>7} {counts}  {'ok' if one.ok else 'FAILED'}")
        if one.along:
            lines.append(f"{'':24} along: {', '.join(one.along)}")
        lines += [f"{'':24} ! {fault}" for fault in one.faults]
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
