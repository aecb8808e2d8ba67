"""The arguments of the public methods about the past, checked and turned into an `Operation`; see `arguments`."""

from typing import Final

from parquedb.actors.reads.history import LIMIT_DEFAULT, LIMIT_MAX, WAIT_S_MAX
from parquedb.actors.requests import checks
from parquedb.actors.requests.operations import CHANGES, Operation

SEQ_MAX: Final = 2**63 - 1


def history(namespace: str, id: str, *, after: int = 0, limit: int = LIMIT_DEFAULT) -> Operation:  # noqa: A002 - public
    """Check the arguments of `history`."""
    options = {
        "after": checks.whole_number("after", after, 0, SEQ_MAX),
        "limit": checks.whole_number("limit", limit, 1, LIMIT_MAX),
    }
    return Operation("history", checks.document_id(namespace, id), None, options)


def changes(namespace: str, *, after: int = 0, limit: int = LIMIT_MAX, wait_s: float = 0.0) -> Operation:  # noqa: ARG001 - as all builders
    """Check the arguments of `changes`."""
    if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 <= wait_s <= WAIT_S_MAX:
        checks.refuse("wait_s", f"seconds from 0 to {WAIT_S_MAX:g}", wait_s)
    options = {
        "after": checks.whole_number("after", after, 0, SEQ_MAX),
        "limit": checks.whole_number("limit", limit, 1, LIMIT_MAX),
        "wait_s": float(wait_s),
    }
    return Operation(CHANGES, None, None, options)
