"""Answers: JSON as fast as it can be made, with values that JSON lacks as Extended JSON."""

import asyncio
import builtins
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import orjson
from starlette.responses import Response
from starlette.types import Send

from parquedb.cluster.gateway.bodies import CallerGone
from parquedb.documents import extended_json
from parquedb.errors import InternalError

JSON: Final = "application/json"


def json_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with plain JSON data."""
    return Response(orjson.dumps(data), status, headers, JSON)


def document_response(
    document: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None, *, head: bool = False
) -> Response:
    """Return an answer with a document.

    Args:
        document: Values.
        status: HTTP status.
        headers: To send besides.
        head: Whether only the headers are wanted.
    """
    body = extended_json.dumps_document(document).encode()
    if head:
        return Response(b"", status, {**(headers or {}), "Content-Length": str(len(body))}, JSON)
    return Response(body, status, headers, JSON)


def etag(document: Mapping[str, Any]) -> str:
    """Return the strong tag of a whole document.

    Raises:
        InternalError: it has no version.
    """
    version = document.get("version")
    if type(version) is not int:
        raise InternalError("a document without a version has no entity tag")
    return f'"{version}"'


def location(root_path: str, namespace: str, document_id: str) -> str:
    """Return the path of a document."""
    return f"{root_path}/v1/{quote(namespace, safe='')}/documents/{quote(document_id, safe='')}"


async def send_part(send: Send, part: bytes, stalled_s: float, *, more: bool = True) -> None:
    """Send a part of a body, which takes as long as the receiver does.

    Raises:
        CallerGone: it stood still for too long. The end of a body waits for it as well.
    """
    try:
        async with asyncio.timeout(stalled_s):
            await send({"type": "http.response.body", "body": part, "more_body": more})
    except builtins.TimeoutError:
        raise CallerGone from None


class StreamedResponse(Response):
    """An answer whose body is sent by its `__call__`, in parts."""

    def __init__(self, headers: Mapping[str, str], media_type: str) -> None:
        """Prepare the head; its length is what `headers` say, or not known."""
        super().__init__(None, HTTPStatus.OK, headers, media_type)
        if "Content-Length" not in headers:
            # That of no body at all, which is what the base takes it for.
            del self.headers["content-length"]
