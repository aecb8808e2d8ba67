"""Bodies of requests, read under a limit of bytes and of time."""

import asyncio
import builtins
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import Receive

from parquedb.cluster.gateway.problems import Refusal
from parquedb.errors import InvalidInputError, RpcTimeoutError

_LENGTH_DIGITS_MAX: Final = 19


class CallerGone(Exception):  # noqa: N818 - nobody is left to be told
    """The caller has closed the connection."""


async def read_body(receive: Receive, headers: Headers, bytes_max: int, timeout_s: float) -> bytes:
    """Return a whole body.

    Raises:
        Refusal: 413, it has more than `bytes_max` bytes; no more than that is kept, whatever its length is said to be.
        Refusal: 408, it did not arrive within `timeout_s` seconds.
        CallerGone: the caller left.
    """
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(timeout_s):
            async for part in body_parts(receive, headers, bytes_max):
                parts.append(part)  # noqa: PERF401 - what has come so far is dropped at the limit
    except builtins.TimeoutError:
        error = RpcTimeoutError(f"the body did not arrive within {timeout_s:.3g} s; nothing was applied")
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, error) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def body_parts(receive: Receive, headers: Headers, bytes_max: int) -> AsyncGenerator[bytes]:
    """Yield a body as it arrives; the next part is asked for when the last one has been dealt with.

    Raises:
        Refusal: 413, there are more than `bytes_max` bytes.
        CallerGone: the caller left.
    """
    length = headers.get("content-length")
    if length is not None and len(length) <= _LENGTH_DIGITS_MAX and length.isdigit() and int(length) > bytes_max:
        raise too_large(bytes_max)
    read, more = 0, True
    while more:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        part: bytes = message.get("body", b"")
        read += len(part)
        if read > bytes_max:
            raise too_large(bytes_max)
        if part:
            yield part
        more = message.get("more_body", False)


def too_large(bytes_max: int) -> Refusal:
    """Return the refusal of a body with more than so many bytes."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, InvalidInputError(f"the body has more than {bytes_max} bytes"))
