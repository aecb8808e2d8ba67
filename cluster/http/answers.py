"""What an HTTP answer means: an error of ours, or that nobody knows what became of the request.

problem+json with an error of ours    that error: nothing of the request was applied
5xx or 408 of somebody else           a proxy, say: the request may have been applied
other statuses of somebody else       refused on the way
200 that cannot be read               may have been applied
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import orjson

from parquedb.cluster.transport.delivery import ReplyLost
from parquedb.errors import ErrorCode, ParqueDBError, RpcError, error_from_status
from parquedb.errors.plain import text_of

PROBLEM: Final = "application/problem+json"

_TEXT_SHOWN: Final = 200
_BAD_REQUEST, _REQUEST_TIMEOUT, _SERVER = 400, 408, 500
_CALLERS = frozenset({401, 403, 429})
"""Refusals that mean the same whoever in front of the gateway gives them."""

UNFORESEEN: Final = frozenset({ErrorCode.INTERNAL, ErrorCode.UNKNOWN, ErrorCode.RPC_ERROR, ErrorCode.OUTCOME_UNKNOWN})
"""Codes after which nobody can say that nothing was applied."""


class Answer(NamedTuple):
    """An answer, read to its end.

    Attributes:
        status: HTTP status.
        headers: By name, in lower case.
        body: All of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """What the body says that it is."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class NoAnswer(ReplyLost):
    """A request has no answer of the gateway's, and never will.

    Attributes:
        why: What its caller is told if it stays like this.
        sent: Whether it may have been carried out.
        repeatable: Whether sending it again may help, and there are repeats to spare.
    """

    def __init__(self, why: ParqueDBError, *, sent: bool, repeatable: bool) -> None:
        super().__init__(str(why))
        self.why = why
        self.sent = sent
        self.repeatable = repeatable


def refusal(answer: Answer) -> Exception:
    """Return what an answer other than 2xx comes to: an error of ours, or `NoAnswer`."""
    if answer.media_type == PROBLEM:
        told = _problem(answer.body)
        if told is not None:
            error = _with_retry_after(ParqueDBError.from_json(told), answer.headers)
            unclear = error.code in UNFORESEEN
            return NoAnswer(error, sent=True, repeatable=False) if unclear else error
    return _foreign(answer)


def unreadable(answer: Answer, why: object) -> NoAnswer:
    """Return what a 2xx answer comes to that is not what was asked for."""
    message = f"the answer of the gateway cannot be read: {text_of(why)[:_TEXT_SHOWN]}"
    error = RpcError(message, code=ErrorCode.RPC_INVALID_RESPONSE, status=answer.status)
    return NoAnswer(error, sent=True, repeatable=True)


def data_of(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a 2xx answer.

    Raises:
        NoAnswer: it is none.
    """
    try:
        data = orjson.loads(answer.body)
    except ValueError as error:
        raise unreadable(answer, error) from None
    if type(data) is not dict:
        raise unreadable(answer, f"expected an object, got {type(data).__name__}")
    return data


def _problem(body: bytes) -> dict[str, Any] | None:
    try:
        data = orjson.loads(body)
    except ValueError:
        return None
    error = data.get("error") if type(data) is dict else None
    return error if type(error) is dict and "code" in error else None


def _foreign(answer: Answer) -> Exception:
    status, shown = answer.status, answer.body[:_TEXT_SHOWN].decode("utf-8", "replace")
    said = f"HTTP status {status} from something in front of the gateway: {shown!r}"
    if status in _CALLERS:
        return _with_retry_after(error_from_status(status, said), answer.headers)
    if status >= _SERVER or status == _REQUEST_TIMEOUT:
        error = RpcError(said, code=ErrorCode.RPC_INVALID_RESPONSE, status=status)
        if status != _SERVER:
            error = error_from_status(503, said, context={"status": status})  # type: ignore[assignment]
        return NoAnswer(_with_retry_after(error, answer.headers), sent=True, repeatable=True)
    where = answer.headers.get("location")
    if status < _BAD_REQUEST and where is not None:
        said = f"HTTP status {status}: this address leads elsewhere ({where[:_TEXT_SHOWN]}), and a client with a token "
        said += "does not follow; connect to that address"
    error = RpcError(said, code=ErrorCode.RPC_INVALID_RESPONSE, status=status)
    return NoAnswer(error, sent=False, repeatable=False)


def _with_retry_after(error: ParqueDBError, headers: Mapping[str, str]) -> ParqueDBError:
    wait_s = retry_after_s(headers.get("retry-after"))
    if error.retry_after is not None or wait_s is None:
        return error
    told = error.to_json()
    return ParqueDBError.from_json({**told, "context": {**told["context"], "retry_after": wait_s}})


def retry_after_s(text: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for, given as such or as a date; None for none."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
