"""Bodies too large for memory: a temporary file between a caller and whoever reads or writes it.

A file is what imports want (types of CSV columns are found in a first pass, the description of a Parquet file stands at
its end), and for an export it means that a failure is a status and not a body cut short.
"""

import asyncio
import builtins
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.types import Receive, Scope, Send

from parquedb.cluster.gateway.answers import StreamedResponse, send_part
from parquedb.cluster.gateway.bodies import body_parts
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.problems import Refusal
from parquedb.errors import RpcTimeoutError, StorageWriteError

WRITE_BYTES: Final = 1 << 20
"""Bytes that are gathered before they go to the disk."""

SEND_BYTES: Final = 1 << 20
"""Bytes that are read and sent at a time. Serve carries pieces of this size where they may be moved to disk."""


@asynccontextmanager
async def spool_folder() -> AsyncIterator[Path]:
    """Make a folder for as long as a request takes."""
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="parquedb-gateway-")
    try:
        yield Path(folder.name)
    finally:
        await asyncio.to_thread(folder.cleanup)


async def spool_body(call: Call, path: Path) -> int:
    """Write the body of a request to a file; return its size in bytes. No more is held than `WRITE_BYTES`.

    Raises:
        Refusal: it is too large, or its sender stands still.
        StorageWriteError: the disk does not take it.
        CallerGone: the caller left.
    """
    settings = call.gateway.settings
    parts = body_parts(call.receive, call.headers, settings.import_bytes_max)
    size, held = 0, bytearray()
    try:
        with await asyncio.to_thread(path.open, "xb", 0) as file:
            while (part := await _next(parts, settings.stalled_s)) is not None:
                held += part
                size += len(part)
                # The next part is asked for when the disk has this one: a fast sender waits for a slow disk.
                if len(held) >= WRITE_BYTES:
                    await asyncio.to_thread(file.write, held)
                    held = bytearray()
            await asyncio.to_thread(file.write, held)
    except OSError as error:
        raise StorageWriteError(f"the body cannot be kept on the gateway's disk: {error.strerror}") from error
    finally:
        await parts.aclose()
    return size


async def _next(parts: AsyncIterator[bytes], patience_s: float) -> bytes | None:
    try:
        async with asyncio.timeout(patience_s):
            return await anext(parts, None)
    except builtins.TimeoutError:
        error = RpcTimeoutError(f"nothing of the body came for {patience_s:g} s")
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, error) from None


class SpooledResponse(StreamedResponse):
    """The content of a file, sent as fast as its receiver takes it."""

    def __init__(
        self,
        chunks: Callable[[], Iterator[bytes]],
        media_type: str,
        headers: Mapping[str, str],
        *,
        stalled_s: float,
        kept: AsyncExitStack,
    ) -> None:
        """Prepare to send.

        Args:
            chunks: Reads the content; runs in threads.
            media_type: Of the content.
            headers: Others.
            stalled_s: Seconds that the receiver may stand still.
            kept: Closed at the end, however it ends.
        """
        super().__init__(headers, media_type)
        self._chunks = chunks
        self._stalled_s = stalled_s
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Send headers and content; a receiver who stands still for too long is left."""
        async with self._kept:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            chunks = await asyncio.to_thread(self._chunks)
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                await send_part(send, chunk, self._stalled_s)
            await send_part(send, b"", self._stalled_s, more=False)


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield the content of a file."""
    with path.open("rb") as file:
        while chunk := file.read(SEND_BYTES):
            yield chunk
