"""Trouble with the store: gone, slow, silent, full, refusing, or with a damaged object."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from parquedb.storage.backend import StorageBackend
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.open import open_backend
from tests.drills.stage import Stage
from tests.support.places import NAMESPACE, settings_of
from tests.support.s3_client import replaced
from tests.support.s3_servers import start_weed

SLOW_S: Final = 2.4
"""Above what calls may take, and so little that two requests in a row are below what a commit may wait."""

LISTING_S: Final = 2.0
"""Of each question of an owner that opens; it has several, one after the other."""

REFUSED_SHARE: Final = 0.15
"""Of commits: enough for the alert, and so few that hardly ever five in a row open a circuit."""


async def storage_down(stage: Stage) -> None:
    """Kill the S3 server."""
    ground = stage.ground
    ground.server.process.kill()
    await asyncio.to_thread(ground.server.process.wait)

    async def mend_store() -> None:
        port = urlsplit(ground.server.endpoint_url).port
        ground.server = await asyncio.to_thread(start_weed, ground.server_folder, port)

    stage.site.commands["mend_store"] = mend_store


async def slow_storage(stage: Stage) -> None:
    """Let each request to the store take seconds."""
    _misbehave(stage, "latency", delay_s=SLOW_S)


async def growing_lag(stage: Stage) -> None:
    """Let no commit be answered."""
    _misbehave(stage, "hang_before", method="PUT", path="/log/")


async def high_error_rate(stage: Stage) -> None:
    """Let the store refuse some commits, as one does whose credentials are being changed."""
    _misbehave(
        stage,
        "status",
        method="PUT",
        path="/log/",
        probability=REFUSED_SHARE,
        status=403,
        code="AccessDenied",
    )


async def slow_opening(stage: Stage) -> None:
    """Let all that is read and listed take long, and then have the owner die."""
    _misbehave(stage, "latency", method="GET", delay_s=LISTING_S)
    os.kill(await stage.owner_pid(), signal.SIGKILL)


async def full_disk(stage: Stage) -> None:
    """Leave no block free on the disk."""
    assert stage.place.disk is not None
    full = stage.place.disk.full()
    await asyncio.to_thread(full.__enter__)
    freed = asyncio.Event()

    async def free_disk() -> None:
        if not freed.is_set():
            freed.set()
            full.__exit__(None, None, None)

    stage.later.push_async_callback(free_disk)
    stage.site.commands["free_disk"] = free_disk


async def corrupt_object(stage: Stage) -> None:
    """Change one byte in the middle of each data file, and have the owner forget what it has read."""
    await stage.posts.flush()
    async with _opened(stage) as store:
        page = await store.list(namespace_prefix(NAMESPACE) + "data/")
        copies = {info.key: await store.read(info.key) for info in page.objects}
    assert copies, "there is no data file"
    for key, data in copies.items():
        damaged = bytearray(data)
        damaged[len(damaged) // 2] ^= 1
        await asyncio.to_thread(replaced, stage.ground.server, _object_key(stage, key), bytes(damaged))

    async def restore_object(key: str) -> None:
        await asyncio.to_thread(replaced, stage.ground.server, _object_key(stage, key), copies[key])

    stage.site.commands["restore_object"] = restore_object
    os.kill(await stage.owner_pid(), signal.SIGKILL)


def _object_key(stage: Stage, key: str) -> str:
    return f"{urlsplit(stage.place.direct['url']).path.strip('/')}/{key}"


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncIterator[StorageBackend]:
    store = open_backend(settings_of(stage.place.direct))
    try:
        yield store
    finally:
        await store.close()


def _misbehave(stage: Stage, action: str, **settings: object) -> None:
    assert stage.place.proxy is not None
    stage.place.proxy.add(action, **settings)
    stage.site.commands["mend_store"] = _mended(stage)


def _mended(stage: Stage) -> Callable[[], Awaitable[None]]:
    async def mend_store() -> None:
        assert stage.place.proxy is not None
        stage.place.proxy.clear()

    return mend_store
