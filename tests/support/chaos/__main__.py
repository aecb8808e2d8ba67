"""Run slices of chaos for some minutes: `python -m tests.support.chaos --minutes 5 --seed 1`."""

import argparse
import sys
import time

from tests.support.chaos.schedule import DISK
from tests.support.chaos.stores import reason_without_disks
from tests.support.chaos.summary import together
from tests.support.chaos.trial import run_slice, slices


def main() -> int:
    """Run; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.chaos", description="Chaos on real processes.")
    parser.add_argument("--minutes", type=float, default=5.0, help="no slice begins later than this")
    parser.add_argument("--seed", type=int, default=1, help="the schedule follows from it")
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults in each slice")
    options = parser.parse_args()
    end_s = time.monotonic() + 60 * options.minutes
    no_disks = reason_without_disks()
    summaries = []
    for task in slices(options.seed, options.seconds):
        if task.place == DISK and no_disks:
            print(f"no small disk can be made here, so none gets full: {no_disks}", flush=True)
            continue
        if summaries and time.monotonic() > end_s:
            break
        summaries.append(run_slice(task))
    print(together(summaries), flush=True)
    return int(any(summary.violations for summary in summaries))


if __name__ == "__main__":
    sys.exit(main())
