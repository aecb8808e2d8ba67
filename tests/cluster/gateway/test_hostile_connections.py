"""HTTP that is none: smuggled requests, endless headers, connections that stall, arrive in pieces or end halfway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.broken_http import BROKEN, DOCUMENT, HEAD
from tests.support.hostile import Stage, read_answer, staged


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made


async def test_what_is_no_http_is_refused_and_nothing_of_it_is_carried_out(stage: Stage) -> None:
    faults = []
    for name, data in BROKEN.items():
        answer = await stage.send(data, end=True)
        faults += stage.faults_of(answer, name)
    for name in ("two lengths", "a list of lengths", "a negative length", "a chunk that is no number"):
        faults += stage.faults_of(await stage.send(BROKEN[name], end=True), name, statuses=[400])
    for name in ("a huge target", "a huge header", "many headers"):
        faults += stage.faults_of(await stage.send(BROKEN[name]), name, statuses=[0, 400, 414, 431])
    await stage.check(faults)
    assert await stage.database["victim"].get("one") is not None, "a smuggled request was carried out"


async def test_a_body_that_ends_early_stores_nothing(stage: Stage) -> None:
    chunked = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for data in (
        HEAD + b"Content-Length: 100\r\n\r\n" + DOCUMENT,
        chunked + b"e\r\n" + DOCUMENT + b"\r\n",
        chunked + b"e\r\n" + DOCUMENT,
        chunked + b"ff\r\n" + DOCUMENT,
    ):
        answer = await stage.send(data, end=True)
        assert stage.faults_of(answer, data) == []
    assert await stage.database["posts"].count() == 0
    await stage.check([])


async def test_a_body_in_single_bytes_is_a_body(stage: Stage) -> None:
    head = HEAD + b"Content-Length: 14\r\nConnection: close\r\n\r\n"
    answer = await stage.send(*(bytes([byte]) for byte in head + DOCUMENT))
    assert answer.status == 201


async def test_callers_that_stall_are_let_go_and_stand_in_nobodys_way(tmp_path: Path) -> None:
    async with staged(tmp_path, timeout_s=1, timeout_s_max=1, requests_max=64) as stage:
        stalled = []
        for _ in range(32):
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
            writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
            stalled.append((reader, writer))
        good = await stage.ask("POST", "/v1/posts", DOCUMENT)
        assert good.status == 201
        async with asyncio.timeout(10):
            answers = [await read_answer(reader) for reader, _ in stalled]
        assert {answer.status for answer in answers} <= {0, 408, 504}
        for _, writer in stalled:
            writer.close()
        assert await stage.database["posts"].count() == 1
        await stage.check([])


async def test_callers_that_leave_before_the_answer_leave_nothing_behind(stage: Stage) -> None:
    for number in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        body = b'{"filter": {"a": %d}}' % number
        writer.write(b"POST /v1/posts/find HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()
    await stage.check([])


async def test_requests_in_one_packet_are_answered_in_order(stage: Stage) -> None:
    one = b"GET /v1/victim/documents/none%d HTTP/1.1\r\nHost: g\r\nX-Request-Id: r%d\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"".join(one % (number, number) for number in range(20)))
    async with asyncio.timeout(10):
        answers = [await read_answer(reader) for _ in range(20)]
    writer.close()
    assert [answer.headers["x-request-id"] for answer in answers] == [f"r{number}" for number in range(20)]
    assert {answer.status for answer in answers} == {404}
