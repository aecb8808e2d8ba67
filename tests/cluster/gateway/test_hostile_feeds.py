"""Readers of streams who ask for nonsense, come in crowds, do not read, or leave without a word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.hostile import VICTIM, Answer, Stage, staged

FOLLOW = b"GET /v1/%s/changes HTTP/1.1\r\nHost: g\r\nAccept: text/event-stream\r\n\r\n"
EXPORT = b"GET /v1/%s/export?format=ndjson HTTP/1.1\r\nHost: g\r\n\r\n"
PLACES = 2

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def following(
    stage: Stage, namespace: str = VICTIM, request: bytes = FOLLOW
) -> AsyncIterator[tuple[int, Connection]]:
    """Follow a feed, or ask for another stream; yields its status and the connection, the rest unread."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    try:
        writer.write(request % namespace.encode())
        async with asyncio.timeout(10):
            status = int((await reader.readline()).split()[1])
        yield status, (reader, writer)
    finally:
        writer.close()


async def followed(stage: Stage, request: bytes = FOLLOW) -> None:
    """Return once there is room for one more stream."""
    async with asyncio.timeout(15):
        while True:
            async with following(stage, request=request) as (status, _):
                if status == 200:
                    return
                assert status == 503
            await asyncio.sleep(0.02)


async def test_a_place_to_resume_that_is_none_is_refused(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        faults = []
        for value in ("-1", "1e9", "9" * 30, "0x1", "٣".encode(), "a\tb", "*", "1, 2", "../1", "NaN", b"\xff"):
            headers = {"Accept": "text/event-stream", "Last-Event-ID": value}
            answer: Answer = await stage.ask("GET", f"/v1/{VICTIM}/changes", b"", headers)
            faults += stage.faults_of(answer, value, statuses=[400])
        for query in ("after=-1", "after=x", "wait_s=1e9", "wait_s=nan", "limit=0", "limit=1e9", "after=1&after=2"):
            answer = await stage.ask("GET", f"/v1/{VICTIM}/changes?{query}", b"", {"Request-Timeout": "2"})
            faults += stage.faults_of(answer, query, statuses=[400])
        await stage.check(faults)


async def test_a_crowd_finds_no_room_and_whoever_leaves_gives_its_place_back(tmp_path: Path) -> None:
    async with staged(tmp_path, streams_max=PLACES, heartbeat_s=0.05) as stage:
        async with following(stage) as (first, _), following(stage) as (second, _):
            assert (first, second) == (200, 200)
            for _ in range(20):
                async with following(stage) as (status, _):
                    assert status == 503
            assert (await stage.ask("GET", f"/v1/{VICTIM}/documents/one")).status == 200
        await followed(stage)
        await stage.check([])


async def test_a_follower_who_does_not_read_loses_its_place(tmp_path: Path) -> None:
    async with staged(tmp_path, streams_max=1, stalled_s=0.5) as stage:
        async with following(stage, "busy") as (status, _):
            assert status == 200
            # More than all the buffers on the way to it hold.
            for _ in range(12):
                await stage.database["busy"].create({"text": "x" * (2 << 20)})
            await followed(stage)
        await stage.check([])


async def test_whoever_does_not_read_an_export_loses_its_place(tmp_path: Path) -> None:
    async with staged(tmp_path, streams_max=1, stalled_s=0.5) as stage:
        for _ in range(12):
            await stage.database["busy"].create({"text": "x" * (2 << 20)})
        async with following(stage, "busy", EXPORT) as (status, _):
            assert status == 200
            await followed(stage, EXPORT)
        await stage.check([])
