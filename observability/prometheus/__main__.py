"""`python -m parquedb.observability.prometheus alerts|dashboard`: print the rules, or the dashboard."""

import sys
from collections.abc import Callable
from importlib.resources import files
from typing import Final

from parquedb.observability.prometheus.dashboard import dashboard_json


def alerts_yaml() -> str:
    """Return the file of rules that comes with the package."""
    return (files("parquedb.observability.prometheus") / "alerts.yml").read_text(encoding="utf-8")


PRINTED: Final[dict[str, Callable[[], str]]] = {"alerts": alerts_yaml, "dashboard": dashboard_json}


def main(arguments: list[str]) -> int:
    """Print what the one argument names; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in PRINTED:
        sys.stderr.write(f"usage: python -m parquedb.observability.prometheus {'|'.join(PRINTED)}\n")
        return 2
    sys.stdout.write(PRINTED[arguments[0]]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
