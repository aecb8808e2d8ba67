"""The steps of a load that the caller makes by itself, without the means of asking the owner: threads or coroutines.

    caller                                   owner
    terms? ------------------------------->  epoch, columns, schema, limits; or what the request came to before
    make data files, store them
    their description -------------------->  look at their ends, at their ids; one log entry
                       <-------------------  rows; or "load again": another owner, another schema

Steps are a generator of questions to the owner; it is sent their outcomes, or has the errors thrown in.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from parquedb.actors.loads.load import Load, Terms, first_ulid
from parquedb.actors.requests.operations import BULK_TERMS, INSERT_ARROW, Operation, Outcome, Request
from parquedb.clock import SystemClock
from parquedb.cluster.loads.direct_storage import DirectStorage, UnreachableError
from parquedb.cluster.transport.sessions import parse_request_id
from parquedb.errors import ConflictError, ErrorCode, ObjectNotFoundError, OutcomeUnknownError, ParqueDBError
from parquedb.errors import TimeoutError as DeadlineError
from parquedb.ids import random_token
from parquedb.storage.backend import StorageBackend
from parquedb.storage.bulk.store import BulkStore
from parquedb.storage.log.commit import Committer

T = TypeVar("T")

_TOKEN_CHARS: Final = 26
_DIRECT_SHARE: Final = 0.5
"""Of the time left, what storing directly may take; the rest is for the owner's part, or for the way through him."""

# Names of files must differ between forked processes.
_random = random.SystemRandom()


class Ask(NamedTuple):
    """One question to the owner.

    Attributes:
        operation: What to ask.
        timeout_s: Seconds for the answer.
    """

    operation: Operation
    timeout_s: float


Steps = Generator[Ask, Outcome, T]


class Applied(NamedTuple):
    """A load that has been committed, now or by an earlier call.

    Attributes:
        which: Index of the request that was applied.
        answer: What it was answered.
    """

    which: int
    answer: dict[str, Any]


class End(NamedTuple):
    """The end of some steps, and what they return."""

    value: Any


def advance(steps: Steps[Any], outcome: Outcome | None, error: ParqueDBError | None) -> Ask | End:
    """Tell what the last question came to; return the next one, or the end."""
    try:
        return steps.throw(error) if error is not None else steps.send(outcome)  # type: ignore[arg-type]  # None first.
    except StopIteration as end:
        return End(end.value)


def new_request() -> str:
    """Return a request id for a load whose caller gave none; unlike a session's it names all parts of the load."""
    return f"load-{random_token(_TOKEN_CHARS)}"


def part_of(request: Request | None, number: int) -> Request | None:
    """Return the id of a part of a load, from that of the whole; the first part's is the whole's."""
    return f"{request}#{number}" if isinstance(request, str) and number else request


Stored = Callable[[StorageBackend, Terms], Coroutine[Any, Any, Load]]


def direct_steps(
    direct: DirectStorage,
    requests: Sequence[Request],
    options: Mapping[str, Any],
    deadline_s: float,
    stored: Stored,
) -> Steps[Applied | None]:
    """Make files, store them and have them committed, again and again while terms change meanwhile.

    Args:
        direct: The way to the store.
        requests: The load's own id, and others of which one may have been applied in its place.
        options: Of the operation.
        deadline_s: Monotonic seconds.
        stored: Makes and stores the files.

    Returns:
        What was applied; None where the store cannot be reached.
    """
    names = [request if isinstance(request, tuple) else parse_request_id(request) for request in requests]
    question = Operation(BULK_TERMS, body=[list(name) if isinstance(name, tuple) else name for name in names])
    while True:
        # Asked also where the store is out of reach: an earlier call may have reached it.
        told = (yield Ask(question, left_s(deadline_s))).value
        if "known" in told:
            return Applied(*told["known"])
        if not direct.usable:
            return None
        terms = Terms.from_wire(told["terms"])
        try:
            load = direct.run(lambda storage, terms=terms: stored(storage, terms), _DIRECT_SHARE * left_s(deadline_s))  # type: ignore[misc]
            operation = Operation(INSERT_ARROW, None, load.to_wire(), options, requests[0])
            return Applied(0, (yield Ask(operation, left_s(deadline_s))).value)
        except UnreachableError:
            return None
        except ObjectNotFoundError as error:
            # Stored, and yet not there: the owner looks at another place under the same name.
            direct.avoid(error)
            return None
        except ConflictError as error:
            if error.code is not ErrorCode.CONCURRENT_MODIFICATION:
                raise


def store_on(storage: StorageBackend, terms: Terms) -> BulkStore:
    """Return what makes and stores files under some terms, on the running loop."""
    return BulkStore(Committer(storage, SystemClock(), _random), terms.epoch, _random, asyncio.to_thread)


def ulid_under(terms: Terms) -> int:
    """Return the number of the first id to make under some terms."""
    return first_ulid(terms.at.timestamp(), _random)


def unknown_of(error: OutcomeUnknownError, whole: Request | None, what: str) -> OutcomeUnknownError:
    """Return an error that names the id of the whole call, which finds every part of it.

    Args:
        error: What a part came to.
        whole: That id, if it is a caller's.
        what: Whose fate is open.
    """
    if not isinstance(whole, str):
        return error
    message = (
        f"{what} may or may not have been stored; the same call with request_id={whole!r} finds out "
        "and never stores anything twice"
    )
    return OutcomeUnknownError(message, request_id=whole, cause=error)


def left_s(deadline_s: float) -> float:
    """Return the seconds until a deadline.

    Raises:
        TimeoutError: it has passed; nothing was stored.
    """
    left = deadline_s - time.monotonic()
    if left <= 0:
        raise DeadlineError("the load was not ready at its deadline; nothing of it is stored")
    return left
