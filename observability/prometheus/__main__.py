"""`python -m parquedb.observability.prometheus alerts|dashboard`: print the rules, or the dashboard."""

import argparse
import sys

from parquedb.observability.prometheus.alerts import alerts_yaml
from parquedb.observability.prometheus.dashboard import dashboard_json


def main(arguments: list[str]) -> int:
    """Print what the first argument names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m parquedb.observability.prometheus")
    parser.add_argument("what", choices=("alerts", "dashboard"), metavar="alerts|dashboard")
    parser.add_argument(
        "--faster",
        type=int,
        default=1,
        metavar="FACTOR",
        help="divide the windows of the alerts by so much, for drills; thresholds stay",
    )
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(alerts_yaml(options.faster) if options.what == "alerts" else dashboard_json())
    except ValueError as error:
        parser.error(f"--faster: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
