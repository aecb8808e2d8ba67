"""Errors that nobody foresaw while a write was decided.

Such an error, a bug of ours, is the answer of the write that met it. Were it let through, it would end the owner with
all that waits there, and the next owner too when that write is repeated.
"""

from parquedb.actors.reporting import journal
from parquedb.errors import InternalError, ParqueDBError


def told(error: Exception, namespace: str, kind: str) -> ParqueDBError:
    """Return what a caller is told of an error that ended the decision of his write; the log hears of a bug of ours.

    Args:
        error: Of the decision, which has changed nothing.
        namespace: Whose write it was.
        kind: Its operation's.
    """
    if isinstance(error, ParqueDBError):
        return error
    journal.decision_failed(namespace, kind, error)
    message = f"{kind} could not be decided and changed nothing: {type(error).__name__}: {error}"
    return InternalError(message, cause=error)
