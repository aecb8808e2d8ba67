"""HTTP that is none: smuggled requests, endless headers, connections that stall, arrive in pieces or end halfway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.hostile import Stage, read_answer, staged

HEAD = b"POST /v1/posts HTTP/1.1\r\nHost: gateway\r\n"
INNER = b"DELETE /v1/victim/documents/one?hard=true HTTP/1.1\r\nHost: gateway\r\n\r\n"
DOCUMENT = b'{"title": "x"}'

BROKEN = {
    "two lengths": HEAD + b"Content-Length: 14\r\nContent-Length: 0\r\n\r\n" + DOCUMENT + INNER,
    "a list of lengths": HEAD + b"Content-Length: 14, 0\r\n\r\n" + DOCUMENT + INNER,
    "a length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked by a trick": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a tab": HEAD + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": HEAD + b"Content-Length : 14\r\n\r\n" + DOCUMENT,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + DOCUMENT,
    "a signed length": HEAD + b"Content-Length: +14\r\n\r\n" + DOCUMENT,
    "a length in hex": HEAD + b"Content-Length: 0xe\r\n\r\n" + DOCUMENT,
    "a length beyond": HEAD + b"Content-Length: 18446744073709551616\r\n\r\n" + DOCUMENT,
    "a chunk of a negative size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + DOCUMENT,
    "a chunk of a size beyond": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + DOCUMENT,
    "a chunk that is no number": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + DOCUMENT,
    "a chunk with an endless name": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\ne;"
    + b"x" * 200_000
    + b"\r\n"
    + DOCUMENT,
    "bare line feeds": b"GET /health HTTP/1.1\nHost: gateway\n\n",
    "bare carriage returns": b"GET /health HTTP/1.1\rHost: gateway\r\r",
    "a folded header": HEAD + b"X-A: 1\r\n Content-Length: 14\r\n\r\n" + DOCUMENT,
    "a NUL in a header": b"GET /health HTTP/1.1\r\nHost: gateway\r\nX-A: a\x00b\r\n\r\n",
    "a NUL in the target": b"GET /v1/po\x00sts HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "an absolute target": b"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a target of a proxy": b"CONNECT victim:443 HTTP/1.1\r\nHost: victim:443\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "an old version": b"GET /health\r\n\r\n",
    "a version to come": b"GET /health HTTP/9.9\r\nHost: gateway\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "an upgrade": b"GET /v1/posts HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a web socket": b"GET /v1/posts HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "an unknown method": b"HACK /v1/posts HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a method of another case": b"get /health HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a method to override": b"POST /v1/posts HTTP/1.1\r\nHost: g\r\nX-HTTP-Method-Override: DELETE\r\n"
    b"Content-Length: 2\r\nConnection: close\r\n\r\n{}",
    "a huge header": b"GET /v1/posts HTTP/1.1\r\nHost: gateway\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "many headers": b"GET /v1/posts HTTP/1.1\r\nHost: gateway\r\n" + b"X-A: a\r\n" * 50_000 + b"\r\n",
    "a huge target": b"GET /v1/posts?filter=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "nothing but blanks": b"\r\n" * 100_000,
    "noise": bytes(range(256)) * 1_000,
}


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
