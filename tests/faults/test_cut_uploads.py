"""A writer that dies while it uploads: the store keeps nothing of it, or all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from parquedb.errors import ObjectNotFoundError, OutcomeUnknownError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.open import open_backend
from tests.support.places import on_s3, settings_of
from tests.support.s3_servers import S3Server

KEY = "posts/log/99999999999999999998"


@asynccontextmanager
async def cutting(server: S3Server, body_bytes: int) -> AsyncIterator[str]:
    """A way to the server that ends like a killed client's: after the headers and so many bytes of the body."""
    address = urlsplit(server.endpoint_url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, upstream = await asyncio.open_connection(address.hostname, address.port)
        head = await reader.readuntil(b"\r\n\r\n")
        if b"\r\nexpect: 100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        upstream.write(head + await reader.readexactly(body_bytes))
        for end in (upstream, writer):
            end.close()
            with suppress(ConnectionError):
                await end.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


def backend(server: S3Server, prefix: str, endpoint_url: str | None = None) -> StorageBackend:
    return open_backend(settings_of(on_s3(server, prefix, endpoint_url=endpoint_url)))


@pytest.mark.parametrize("body_bytes", [0, 1, 500, 999])
async def test_an_upload_that_is_cut_leaves_no_object(weed: S3Server, unique_prefix: str, body_bytes: int) -> None:
    data = bytes(range(250)) * 4
    direct = backend(weed, unique_prefix)
    async with cutting(weed, body_bytes) as endpoint_url:
        cut = backend(weed, unique_prefix, endpoint_url)
        with pytest.raises(OutcomeUnknownError):
            await cut.create(KEY, data)
        await cut.close()
    # Asking is no proof while a packet may be on its way; creating is.
    await direct.create(KEY, data)
    assert await direct.read(KEY) == data
    await direct.delete(KEY)
    with pytest.raises(ObjectNotFoundError):
        await direct.read(KEY)
    await direct.close()
