"""`python -m benchmarks [--quick] [--only NAME] [--json FILE]`: run the benchmarks and write the table."""

import argparse
import contextlib
import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.table import Row, load, machine, markdown, plain, today

GROUPS = (
    *("throughput", "latency", "commits", "opening", "reads", "queries", "bulk", "failover", "overload"),
    *("hooks", "metrics", "telemetry", "worker_logs", "ai_usage", "gateway", "backup"),
)
RESULTS = Path(__file__).with_name("results.md")


def main(arguments: list[str] | None = None) -> int:
    """Run; return 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Each figure beside its peer.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds; results.md is left alone")
    parser.add_argument("--only", action="append", choices=GROUPS, help="this group only; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON too")
    options = parser.parse_args(arguments)
    started_s = time.monotonic()
    rows: list[Row] = []
    with Bench(quick=options.quick) as bench:
        facts = {"date": today(), "command": _command(options)} | machine(bench.scratch)
        facts["load average before"] = " ".join(map(str, load()))
        for name in GROUPS:
            if options.only is None or name in options.only:
                bench.say(f"{name} ...")
                # Ray tells of killed workers on stdout, which is the table's.
                with contextlib.redirect_stdout(sys.stderr):
                    rows += importlib.import_module(f"benchmarks.{name}").run(bench)
        facts["load average after"] = " ".join(map(str, load()))
    facts["duration"] = f"{time.monotonic() - started_s:.0f} s"
    text = markdown(rows, facts)
    print(text)
    if not options.quick and options.only is None:
        RESULTS.write_text(text)
    if options.json is not None:
        options.json.write_text(json.dumps(plain(rows, facts), indent=1, ensure_ascii=False))
    return int(any(row.verdict == "FAIL" for row in rows))


def _command(options: argparse.Namespace) -> str:
    words = ["python -m benchmarks"]
    words += ["--quick"] if options.quick else []
    words += [f"--only {name}" for name in options.only or ()]
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
