"""The command line of `parquedb keys`, apart from what it does: `--help` should not wait for Ray."""

import argparse
import re
from datetime import timedelta
from typing import Any, Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PERIOD: Final = re.compile(r"(\d{1,6})([smhd])")


def describe_keys(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command line."""
    keys = commands.add_parser(
        "keys",
        help="API keys of the HTTP gateway: issue, list, rotate, revoke",
        description="API keys of the HTTP gateway. They are kept in the database, as hashes: a key is printed once, "
        "when it is issued, and cannot be shown again. A gateway notices a revocation within some seconds.",
    )
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    issue = _action(actions, "issue", "make a key and print it, alone, on standard output")
    issue.add_argument("name", metavar="NAME", help="whose it is; documents that it writes say so")
    issue.add_argument("permissions", nargs="+", metavar="PERMISSION", help="such as read:orders or '*:tenant-a-*'")
    issue.add_argument("--expires-in", type=period, metavar="TIME", help="such as 90d, 12h, 30m (default: never)")
    issue.add_argument("--requests", type=int, metavar="N", help="requests in one window, if not what all may")
    _action(actions, "list", "show all keys, but no secrets")
    rotate = _action(actions, "rotate", "make a key that may do the same, and let the old one expire")
    rotate.add_argument("id", metavar="ID")
    rotate.add_argument("--overlap", type=period, metavar="TIME", help="how long the old one still works (default: 1d)")
    revoke = _action(actions, "revoke", "refuse a key from now on")
    revoke.add_argument("id", metavar="ID")


def _action(actions: Any, name: str, help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's word
    made: argparse.ArgumentParser = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    made.add_argument("--url", metavar="URL", help="a directory or s3://bucket/prefix (default: PARQUEDB_URL)")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def period(text: str) -> timedelta:
    """Parse a time such as `90d`.

    Raises:
        ValueError: it is none; argparse words the refusal.
    """
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
