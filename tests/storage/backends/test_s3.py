"""What each answer of an S3 server, and each lost one, comes to; and that every request is sent once."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from parquedb.documents.filters import compile_filter
from parquedb.errors import (
    AlreadyExistsError,
    ConcurrentModificationError,
    ConfigurationError,
    CorruptionError,
    ErrorCode,
    ETagMismatchError,
    InvalidInputError,
    NetworkError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    ParqueDBError,
    StorageReadError,
    StorageWriteError,
    TimeoutError,  # noqa: A004 - the public name
)
from parquedb.storage.backend import Range, StorageBackend
from parquedb.storage.backends.probe import probe
from parquedb.storage.backends.s3 import OBJECT_BYTES_MAX, S3Backend
from parquedb.storage.backends.s3_client import S3Client, S3Options
from parquedb.storage.query import scan
from parquedb.storage.query.scan_plan import ScanSnapshot
from tests.support.cold_places import Place
from tests.support.fault_proxy import FaultProxy
from tests.support.s3_servers import S3Server, start_moto

Call = Callable[[StorageBackend], Awaitable[Any]]

WRITES: dict[str, tuple[str, Call]] = {
    "create": ("PUT", lambda store: store.create("ns/log/1", b"mine")),
    "write": ("PUT", lambda store: store.write("ns/log/1", b"mine")),
    "conditional write": ("PUT", lambda store: store.write("ns/log/1", b"mine", if_match="0" * 32)),
    "delete": ("DELETE", lambda store: store.delete("ns/log/1")),
}
READS: dict[str, tuple[str, Call]] = {
    "read": ("GET", lambda store: store.read("ns/log/1")),
    "read_range": ("GET", lambda store: store.read_range("ns/log/1", 0, 1)),
    "read_ranges": ("GET", lambda store: store.read_ranges([Range("ns/log/1", 0, 1)])),
    "stat": ("HEAD", lambda store: store.stat("ns/log/1")),
    "list": ("GET", lambda store: store.list("ns/log/")),
    "list_folders": ("GET", lambda store: store.list_folders("ns/")),
}


def options(endpoint_url: str, **more: Any) -> S3Options:
    return S3Options(endpoint_url=endpoint_url, key="test", secret="testtest", **more)


@pytest.fixture
async def store(moto: S3Server, moto_proxy: FaultProxy, unique_prefix: str) -> AsyncIterator[S3Backend]:
    """A backend that reaches the store through the fault proxy."""
    backend = S3Backend(moto.bucket, unique_prefix, options=options(moto_proxy.url))
    yield backend
    await backend.close()


@pytest.fixture
async def direct(moto: S3Server, unique_prefix: str) -> AsyncIterator[S3Backend]:
    """The same place, reached directly."""
    backend = S3Backend(moto.bucket, unique_prefix, options=options(moto.endpoint_url))
    yield backend
    await backend.close()


# One attempt


@pytest.mark.parametrize("name", [*WRITES, *READS])
async def test_every_call_sends_its_request_once_however_it_fails(
    store: S3Backend, moto_proxy: FaultProxy, name: str
) -> None:
    method, call = (WRITES | READS)[name]
    faults: list[dict[str, Any]] = [
        {"action": "drop_before"},
        {"action": "status"},
        {"action": "status", "status": 500},
    ]
    for fault in faults:
        moto_proxy.clear()
        moto_proxy.seen.clear()
        moto_proxy.add(**fault)
        with pytest.raises(ParqueDBError):
            await call(store)
        assert [(one.method, one.action) for one in moto_proxy.seen] == [(method, fault["action"])]


async def test_a_lost_reply_is_sent_once_and_ends_in_unknown_not_in_already_exists(
    store: S3Backend, direct: S3Backend, moto_proxy: FaultProxy
) -> None:
    moto_proxy.add("drop_after", method="PUT", count=1)
    with pytest.raises(
        OutcomeUnknownError, match=r"no answer to the write of 'ns/log/1' .* may still be stored"
    ) as caught:
        await store.create("ns/log/1", b"mine")
    assert (caught.value.key, caught.value.code) == ("ns/log/1", ErrorCode.OUTCOME_UNKNOWN)
    assert moto_proxy.count(method="PUT", condition="create") == 1
    assert await direct.read("ns/log/1") == b"mine"
    # The same bytes again settle it.
    with pytest.raises(AlreadyExistsError):
        await store.create("ns/log/1", b"mine")


async def test_absence_after_an_unknown_write_proves_nothing(
    store: S3Backend, direct: S3Backend, moto_proxy: FaultProxy
) -> None:
    zombie = moto_proxy.add("zombie", method="PUT", count=1)
    with pytest.raises(OutcomeUnknownError):
        await store.create("ns/log/1", b"late")
    with pytest.raises(ObjectNotFoundError):
        await direct.read("ns/log/1")
    zombie.release()
    await asyncio.to_thread(zombie.wait_applied)
    assert await direct.read("ns/log/1") == b"late"


async def test_a_lying_500_ends_in_unknown(store: S3Backend, direct: S3Backend, moto_proxy: FaultProxy) -> None:
    moto_proxy.add("status_after", status=500, code="InternalError", method="PUT", count=1)
    with pytest.raises(OutcomeUnknownError, match="the store answered 500 InternalError to the write of 'ns/log/1'"):
        await store.create("ns/log/1", b"mine")
    assert await direct.read("ns/log/1") == b"mine"


# What a status means


@pytest.mark.parametrize("code", ["PreconditionFailed", "", "InvalidRequest", "SlowDown"])
async def test_a_412_means_taken_or_mismatch_whatever_its_body_says(
    store: S3Backend, moto_proxy: FaultProxy, code: str
) -> None:
    moto_proxy.add("status", status=412, code=code)
    with pytest.raises(AlreadyExistsError, match="object 'ns/log/1' already exists"):
        await store.create("ns/log/1", b"x")
    with pytest.raises(ETagMismatchError, match="object 'ns/log/1': expected etag 'abc', but it has another"):
        await store.write("ns/log/1", b"x", if_match="abc")
    with pytest.raises(StorageWriteError):
        await store.write("ns/log/1", b"x")


async def test_a_409_is_a_conflict_that_may_be_sent_again(store: S3Backend, moto_proxy: FaultProxy) -> None:
    moto_proxy.add("status", status=409, code="ConditionalRequestConflict", count=1)
    with pytest.raises(ConcurrentModificationError, match="send the same bytes again") as caught:
        await store.create("ns/log/1", b"mine")
    assert caught.value.code is ErrorCode.CONCURRENT_MODIFICATION
    assert caught.value.retryable
    await store.create("ns/log/1", b"mine")


@pytest.mark.parametrize("name", WRITES)
async def test_a_server_error_leaves_a_write_unknown(store: S3Backend, moto_proxy: FaultProxy, name: str) -> None:
    for status in (408, 500, 502, 503, 504, 599):
        moto_proxy.clear()
        # Not the code SlowDown, after which s3fs sleeps before it gives up.
        moto_proxy.add("status", status=status, code="Busy")
        with pytest.raises(OutcomeUnknownError, match=f"the store answered {status} Busy to the write") as caught:
            await WRITES[name][1](store)
        assert caught.value.context["status"] == status


@pytest.mark.parametrize("name", WRITES)
async def test_a_refusal_is_a_definite_no(store: S3Backend, moto_proxy: FaultProxy, name: str) -> None:
    for status, code in ((400, "InvalidRequest"), (403, "AccessDenied"), (405, "X"), (429, "Slow")):
        moto_proxy.clear()
        moto_proxy.add("status", status=status, code=code)
        with pytest.raises(StorageWriteError, match=f"the store refused to write 'ns/log/1': {status} {code}"):
            await WRITES[name][1](store)


async def test_a_store_that_says_it_has_no_conditions_is_a_configuration_error(
    store: S3Backend, moto_proxy: FaultProxy
) -> None:
    moto_proxy.add("status", status=501, code="NotImplemented")
    with pytest.raises(ConfigurationError, match="no conditional writes: it answered 501 NotImplemented"):
        await store.create("ns/log/1", b"x")


@pytest.mark.parametrize("name", READS)
async def test_a_read_that_is_refused_says_so(store: S3Backend, moto_proxy: FaultProxy, name: str) -> None:
    for status in (400, 403, 429, 500, 503):
        moto_proxy.clear()
        moto_proxy.add("status", status=status, code="Busy")
        with pytest.raises(StorageReadError, match=f"the store refused to read 'ns/.*': {status}") as caught:
            await READS[name][1](store)
        assert caught.value.context["status"] == status
        assert caught.value.__cause__ is not None


async def test_a_missing_bucket_is_never_taken_for_a_missing_object(moto: S3Server) -> None:
    # "Not there" is proof that nobody wrote; a bucket that is gone proves nothing.
    backend = S3Backend("no-such-bucket", options=options(moto.endpoint_url))
    for name in ("read", "read_range", "list", "list_folders"):
        with pytest.raises(StorageReadError, match="404 NoSuchBucket"):
            await READS[name][1](backend)
    for name in WRITES:
        with pytest.raises(StorageWriteError, match="404 NoSuchBucket; the bucket has to be made first"):
            await WRITES[name][1](backend)
    await backend.close()


# No answer in time


@pytest.mark.parametrize("action", ["hang_before", "hang_after"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_without_an_answer_in_time_is_unknown(
    store: S3Backend, moto_proxy: FaultProxy, name: str, action: str
) -> None:
    await store.exists("ns/warm")
    moto_proxy.add(action, method=WRITES[name][0])
    with pytest.raises(OutcomeUnknownError, match=r"no answer to the write of 'ns/log/1' within 0.2 s"):
        await asyncio.wait_for(_with_timeout(store, name), 10)


async def _with_timeout(store: S3Backend, name: str) -> None:
    if name == "delete":
        await store.delete("ns/log/1", timeout_s=0.2)
    elif name == "create":
        await store.create("ns/log/1", b"x", timeout_s=0.2)
    else:
        await store.write("ns/log/1", b"x", if_match="a" if "cond" in name else None, timeout_s=0.2)


@pytest.mark.parametrize("fault", [{"action": "hang_before"}, {"action": "slow_body", "bytes_per_s": 2000}])
async def test_a_read_without_an_answer_in_time_times_out(
    store: S3Backend, direct: S3Backend, moto_proxy: FaultProxy, fault: dict[str, Any]
) -> None:
    await direct.create("ns/log/1", b"x" * 10_000)
    moto_proxy.add(**fault)
    # The limit is on the whole: a body that trickles does not renew it.
    with pytest.raises(TimeoutError, match=r"no answer to the read of 'ns/log/1' within 0.3 s") as caught:
        await store.read("ns/log/1", timeout_s=0.3)
    assert caught.value.timeout_s == 0.3
    # On a busy machine the time may be up before the request is out; it is never out twice.
    assert moto_proxy.count(method="GET") <= 1


async def test_the_backend_has_a_time_limit_of_its_own(moto_proxy: FaultProxy) -> None:
    backend = S3Backend("test", "x", options=options(moto_proxy.url), timeout_s=0.5)
    moto_proxy.add("hang_before")
    with pytest.raises(TimeoutError, match=r"within 0.5 s"):
        await backend.read("ns/log/1")
    await backend.close()


async def test_a_body_that_is_cut_short_is_an_error_and_never_short_data(
    store: S3Backend, direct: S3Backend, moto_proxy: FaultProxy
) -> None:
    await direct.create("ns/data/1", b"0123456789" * 1000)
    for kept in (0, 1, 9_999):
        moto_proxy.add("truncate", method="GET", body_bytes=kept, count=1)
        with pytest.raises(NetworkError, match="'ns/data/1'"):
            await store.read("ns/data/1")
        moto_proxy.clear()
    assert len(await store.read("ns/data/1")) == 10_000


async def test_an_outage_is_told_from_absence_and_ends_when_it_ends(store: S3Backend, moto_proxy: FaultProxy) -> None:
    with moto_proxy.outage():
        with pytest.raises(NetworkError, match="no answer to the read of 'ns/log/1'"):
            await store.read("ns/log/1")
        with pytest.raises(OutcomeUnknownError):
            await store.create("ns/log/1", b"x")
    await store.create("ns/log/1", b"x")
    assert await store.read("ns/log/1") == b"x"


async def test_a_port_where_nobody_listens_is_no_network(unused_port: int) -> None:
    backend = S3Backend("test", options=options(f"http://127.0.0.1:{unused_port}"))
    with pytest.raises(NetworkError):
        await backend.read("ns/log/1")
    with pytest.raises(OutcomeUnknownError):
        await backend.create("ns/log/1", b"x")
    await backend.close()


@pytest.fixture
def unused_port() -> int:
    import socket  # noqa: PLC0415 - for this fixture only

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


# Connections


async def test_cancelled_writes_give_their_connections_back(
    moto: S3Server, moto_proxy: FaultProxy, unique_prefix: str
) -> None:
    backend = S3Backend(moto.bucket, unique_prefix, options=options(moto_proxy.url, pool_connections=2))
    await backend.exists("ns/warm")
    hang = moto_proxy.add("hang_before", method="PUT")
    before = asyncio.all_tasks()
    for number in range(3):
        tasks = [asyncio.create_task(backend.create(f"ns/log/{number}-{index}", b"x")) for index in range(2)]
        for _ in tasks:
            await asyncio.to_thread(hang.wait_fired)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    moto_proxy.clear()
    await backend.create("ns/log/after", b"x", timeout_s=5)
    assert asyncio.all_tasks() == before
    await backend.close()


def test_one_backend_serves_several_event_loops_in_turn(moto: S3Server, unique_prefix: str) -> None:
    backend = S3Backend(moto.bucket, unique_prefix, options=options(moto.endpoint_url))

    async def use(number: int) -> list[str]:
        await backend.create(f"ns/log/{number}", b"x")
        found = [info.key for info in (await backend.list("ns/log/")).objects]
        await backend.close()
        return found

    assert asyncio.run(use(1)) == ["ns/log/1"]
    assert asyncio.run(use(2)) == ["ns/log/1", "ns/log/2"]


async def test_first_calls_at_the_same_moment_share_one_client(store: S3Backend) -> None:
    await asyncio.gather(*(store.create(f"ns/log/{number}", b"x") for number in range(5)))
    assert len((await store.list("ns/log/")).objects) == 5


async def test_a_large_body_is_one_conditional_put_without_warnings(store: S3Backend, moto_proxy: FaultProxy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await store.create("ns/data/1", bytes(60 << 20), timeout_s=60)
    assert [(one.method, one.condition) for one in moto_proxy.seen] == [("PUT", "create")]
    with pytest.raises(InvalidInputError, match="an object holds at most 1073741824"):
        await store.create("ns/data/2", bytes(OBJECT_BYTES_MAX + 1))
    assert len(moto_proxy.seen) == 1


async def test_no_credentials_at_all_is_a_configuration_error_and_nothing_is_sent(
    moto_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    backend = S3Backend("test", options=S3Options(endpoint_url=moto_proxy.url))
    with pytest.raises(ConfigurationError, match=r"no usable S3 credentials.*AWS_ACCESS_KEY_ID"):
        await backend.create("ns/log/1", b"x")
    assert moto_proxy.seen == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testtest")
    await backend.close()
    await backend.list("")
    await backend.close()


def test_the_secret_is_not_shown() -> None:
    assert "testtest" not in repr(options("http://127.0.0.1:1"))


# Other stores' ways


async def test_foreign_objects_in_the_bucket_are_skipped_page_by_page(moto: S3Server, direct: S3Backend) -> None:
    client = S3Client(options(moto.endpoint_url))
    for name in ("A", "B", "C d", "a//b", "é", "dir/"):
        await client.call("put_object", Bucket=moto.bucket, Key=f"{direct._root}{name}", Body=b"foreign")
    await direct.create("b/log/1", b"x")
    await direct.create("c/log/1", b"x")
    page = await direct.list("", limit=2)
    assert ([info.key for info in page.objects], page.more) == (["b/log/1", "c/log/1"], True)
    page = await direct.list("", limit=1, after="b/log/1")
    assert ([info.key for info in page.objects], page.more) == (["c/log/1"], True)
    page = await direct.list("", limit=1, after="c/log/1")
    assert (page.objects, page.more) == ((), False)
    assert await direct.list_folders("") == ("a", "b", "c", "dir")
    await client.close()


@asynccontextmanager
async def canned(*replies: bytes) -> AsyncIterator[S3Backend]:
    """A backend whose store answers each request with the next of these bytes."""
    rest: Iterator[bytes] = iter(replies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(rest))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    backend = S3Backend("test", options=options(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try:
        yield backend
    finally:
        await backend.close()
        server.close()


async def test_a_listing_without_the_stores_date_is_refused() -> None:
    body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n" % len(body)
    dated = head + b"Date: Thu, 01 Jan 2026 00:00:07 GMT\r\n\r\n" + body
    async with canned(head + b"\r\n" + body, dated) as store:
        with pytest.raises(StorageReadError, match="gave no Date with the listing of 'ns/log/'"):
            await store.list("ns/log/")
        assert (await store.list("ns/log/")).server_s == 1767225607.0


async def test_a_store_that_ignores_ranges_still_gives_the_range() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789"
    async with canned(whole, whole) as store:
        assert await store.read_range("ns/data/1", 3, 4) == b"3456"
        assert await store.read_range("ns/data/1", 8, 9) == b"89"


async def test_an_answer_that_is_no_s3_leaves_a_write_unknown_and_a_read_refused() -> None:
    garbled = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html"
    async with canned(b"nonsense\r\n\r\n", b"nonsense\r\n\r\n", garbled) as store:
        with pytest.raises(OutcomeUnknownError):
            await store.create("ns/log/1", b"x")
        with pytest.raises(NetworkError):
            await store.read("ns/log/1")
        with pytest.raises((NetworkError, StorageReadError)):
            await store.list("ns/log/")


async def test_a_real_server_checks_the_signature_through_the_proxy(
    weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str
) -> None:
    good = S3Backend(weed.bucket, f"{unique_prefix}/a b+c", options=options(weed_proxy.url))
    await good.create("ns/log/1", b"x")
    assert [info.key for info in (await good.list("")).objects] == ["ns/log/1"]
    await good.close()
    bad = S3Backend(weed.bucket, options=S3Options(endpoint_url=weed_proxy.url, key="test", secret="wrong"))
    with pytest.raises(StorageWriteError, match=r"403 \w+; are key, secret and region right, and may they do this\?$"):
        await bad.create("ns/log/1", b"x")
    await bad.close()


async def test_a_lost_reply_of_a_real_server_is_unknown_and_settled_by_the_same_bytes(
    weed: S3Server, weed_proxy: FaultProxy, unique_prefix: str
) -> None:
    backend = S3Backend(weed.bucket, unique_prefix, options=options(weed_proxy.url))
    weed_proxy.add("drop_after", method="PUT", count=1)
    with pytest.raises(OutcomeUnknownError):
        await backend.create("ns/log/1", b"mine")
    with pytest.raises(AlreadyExistsError):
        await backend.create("ns/log/1", b"mine")
    assert await backend.read("ns/log/1") == b"mine"
    assert weed_proxy.count(method="PUT") == 2
    await backend.close()


# Digests


@pytest.mark.parametrize("server", ["moto", "weed"])
async def test_bytes_that_changed_on_their_way_are_refused_and_not_kept(
    server: str, unique_prefix: str, request: pytest.FixtureRequest
) -> None:
    where: S3Server = request.getfixturevalue(server)
    store = S3Backend(where.bucket, unique_prefix, options=options(where.endpoint_url))
    assert await store.verifies_uploads("ns/damaged")
    with pytest.raises(ObjectNotFoundError):
        await store.read("ns/damaged")
    await store.close()


async def test_a_store_that_ignores_digests_is_refused() -> None:
    """Plain moto is one; a database would work there until a writer dies while it uploads."""
    server = start_moto(plain=True)
    store = S3Backend(server.bucket, options=options(server.endpoint_url))
    try:
        with pytest.raises(ConfigurationError, match=r"this s3 store cannot hold a database: it ignores Content-MD5"):
            await probe(store)
        assert (await store.list("")).objects == ()
    finally:
        await store.close()
        server.stop()


async def test_a_store_that_does_not_answer_about_digests_is_not_judged(
    store: S3Backend, moto_proxy: FaultProxy
) -> None:
    moto_proxy.add("status", status=503, method="PUT")
    with pytest.raises(OutcomeUnknownError):
        await store.verifies_uploads("ns/damaged")


# Multipart uploads


@pytest.mark.parametrize("server", ["moto", "weed"])
async def test_old_uploads_below_a_prefix_are_given_up(
    server: str, unique_prefix: str, request: pytest.FixtureRequest
) -> None:
    where: S3Server = request.getfixturevalue(server)
    store = S3Backend(where.bucket, unique_prefix, options=options(where.endpoint_url))
    client = S3Client(options(where.endpoint_url))
    names = [f"posts/data/{number}" for number in range(3)]
    for name in [*names, "other/data/1"]:
        await client.call("create_multipart_upload", Bucket=where.bucket, Key=f"{unique_prefix}/{name}")
    try:
        if server != "moto":  # It dates every upload to the year 2010.
            assert await store.abort_uploads("posts/", 3600) == 0
        # Ages have a resolution of a second on some servers.
        assert await store.abort_uploads("posts/", -2) == 3
        assert await store.abort_uploads("posts/", -2) == 0
        assert await store.abort_uploads("other/", -2) == 1
    finally:
        await client.close()
        await store.close()


async def test_a_cold_query_reads_parts_of_objects_and_notices_damage(store: S3Backend, moto_proxy: FaultProxy) -> None:
    place = Place()
    files = await place.files(store=store)
    before = len(moto_proxy.seen)
    for condition in ({"color": "color 1"}, {"color": "color 1x"}, {"weather.temp": 1.5}):
        predicate = compile_filter(condition)
        assert await scan.count(ScanSnapshot.of(files), predicate) == sum(map(predicate, place.live))
    reads = [seen for seen in moto_proxy.seen[before:] if seen.method == "GET"]
    assert reads
    assert all("Range" in seen.headers for seen in reads)
    file, data = place.stored[0]
    [(_, stop)] = (await files.cache.footer(file)).spans([(0, ["a"])])
    await store.write(f"posts/{file.key}", data[: stop - 1] + bytes([data[stop - 1] ^ 1]) + data[stop:])
    with pytest.raises(CorruptionError, match=f"posts/{file.key}"):
        await scan.count(ScanSnapshot.of(files), compile_filter({"a": {"$gt": 1}}))
