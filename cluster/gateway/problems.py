"""Errors as HTTP answers: problem details that a client can turn back into the same error.

Source:
    RFC 9457 (problem+json); RFC 9110, section 10.2.3 (Retry-After).
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

from parquedb.errors import ParqueDBError
from parquedb.observability.logs.redaction import redactor

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "https://parquedb.dev/errors/"
"""In front of an error code it makes the `type` of a problem; a name, not an address that must answer."""

_SERVER: Final = 500
_ASKS_TO_WAIT: Final = frozenset({429, 503})


class Refusal(Exception):  # noqa: N818 - a turn of control that ends as an answer, and never reaches a user
    """An answer whose status says more than the code of its error does, such as 413 or 412.

    Attributes:
        status: HTTP status.
        error: What is told.
        headers: Others that the status asks for.
    """

    def __init__(self, status: int, error: ParqueDBError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


def problem_response(
    error: ParqueDBError,
    *,
    request_id: str | None = None,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that reports an error.

    Args:
        error: What is told, its causes included, its stack not.
        request_id: Id of the HTTP request, by which its log records are found.
        status: Of the answer; the error's own by default.
        headers: Others to send.
    """
    code = error.code
    status = error.http_status if status is None else status
    told: dict[str, Any] = {
        "type": TYPE_PREFIX + code.value,
        "title": code.value.replace("_", " ").capitalize(),
        "status": status,
        "detail": error.message if status < _SERVER else redactor.text(error.message),
        "code": code.value,
        "error": error_data(error),
    }
    if request_id is not None:
        told["request_id"] = request_id
    sent = dict(headers or {})
    if status in _ASKS_TO_WAIT:
        sent.setdefault("Retry-After", str(max(1, math.ceil(error.retry_after or 0))))
    return Response(json_text(told), status, sent, MEDIA_TYPE)


def error_data(error: ParqueDBError) -> Any:
    """Return what is told of an error.

    What the caller did wrong is told in full, for it speaks of what he has sent. What failed here may quote what he is
    not to see, so secrets are taken out of it.
    """
    told = error.to_json()
    return told if error.http_status < _SERVER else redactor.value(told)


def json_text(data: Any) -> bytes:
    """Return JSON text; half a surrogate pair, which a message may quote, becomes a question mark."""
    try:
        return orjson.dumps(data)
    except TypeError:
        return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
