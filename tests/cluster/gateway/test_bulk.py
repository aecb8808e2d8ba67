"""Imports and exports."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from tests.cluster.gateway.conftest import Clients
from tests.support.engine_database import EngineDatabase

NDJSON = {"Content-Type": "application/x-ndjson"}
TABLE = pa.table({"$id": ["a", "b", "c"], "n": [1, 2, 3]})


def arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


BODIES = {
    "application/vnd.apache.arrow.stream": arrow(TABLE),
    "application/vnd.apache.parquet": parquet(TABLE),
    "application/x-ndjson": b'{"$id":"a","n":1}\n{"$id":"b","n":2}\n{"$id":"c","n":3}\n',
    "text/csv; charset=utf-8": b"$id,n\na,1\nb,2\nc,3\n",
}


async def slowly(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 7):
        yield body[start : start + 7]


@pytest.mark.parametrize("kind", BODIES)
async def test_rows_of_every_format_become_documents(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/v1/posts/import", content=slowly(BODIES[kind]), headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["rows"], told["skipped"], told["errors"], told["bytes"]) == (3, 0, [], len(BODIES[kind]))
    found = await client.get("/v1/posts", params={"sort": "n"})
    assert [(one["$id"], one["n"]) for one in found.json()["items"]] == [("posts/a", 1), ("posts/b", 2), ("posts/c", 3)]


@pytest.mark.parametrize(
    ("format_", "kind"),
    [
        ("ndjson", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8"),
        ("parquet", "application/vnd.apache.parquet"),
        ("arrow", "application/vnd.apache.arrow.stream"),
    ],
)
async def test_documents_come_back_in_every_format(client: httpx.AsyncClient, format_: str, kind: str) -> None:
    await client.post("/v1/posts/import", content=BODIES["application/x-ndjson"], headers=NDJSON)
    params = {"format": format_, "filter": '{"n":{"$gte":2}}', "sort": "-n", "fields": '{"n":1}'}
    answer = await client.get("/v1/posts/export", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind), answer.text
    assert (answer.headers["parquedb-rows"], answer.headers["parquedb-seq"]) == ("2", "3")
    read = {
        "ndjson": lambda data: [json.loads(line) for line in data.splitlines()],
        "csv": lambda data: pa_csv.read_csv(io.BytesIO(data)).to_pylist(),
        "parquet": lambda data: pq.read_table(io.BytesIO(data)).to_pylist(),
        "arrow": lambda data: pa.ipc.open_stream(data).read_all().to_pylist(),
    }[format_]
    rows = read(answer.content)
    assert [(row["$id"].removeprefix("posts/"), row["n"]) for row in rows] == [("c", 3), ("b", 2)]


async def test_a_repeated_import_stores_nothing_twice(client: httpx.AsyncClient) -> None:
    headers = {**NDJSON, "Idempotency-Key": "load-1"}
    for _ in range(2):
        answer = await client.post("/v1/posts/import", content=b'{"n":1}\n{"n":2}\n', headers=headers)
        assert answer.json()["rows"] == 2
    assert (await client.post("/v1/posts/count", json={})).json()["value"] == 2
    table = {"Content-Type": "application/vnd.apache.arrow.stream", "Idempotency-Key": "load-2"}
    for _ in range(2):
        assert (await client.post("/v1/rows/import", content=arrow(TABLE), headers=table)).json()["rows"] == 3


async def test_rows_that_cannot_be_stored_are_named(client: httpx.AsyncClient) -> None:
    body = b'{"$id":"a"}\nnonsense\n{"$id":"b"}\n'
    stopped = await client.post("/v1/posts/import", content=body, headers=NDJSON)
    assert (stopped.status_code, stopped.json()["error"]["context"]["line"]) == (400, 2)
    skipped = await client.post("/v1/others/import?on_error=skip", content=body, headers=NDJSON)
    assert (skipped.json()["rows"], skipped.json()["skipped"], skipped.json()["errors"][0]["line"]) == (2, 1, 2)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/vnd.apache.arrow.stream", arrow(TABLE)[:-40]),
        ("application/vnd.apache.arrow.stream", b"nonsense"),
        ("application/vnd.apache.arrow.stream", b""),
        ("application/vnd.apache.parquet", parquet(TABLE)[:100]),
        ("application/vnd.apache.parquet", b""),
    ],
)
async def test_a_file_that_is_none_is_refused(client: httpx.AsyncClient, kind: str, body: bytes) -> None:
    answer = await client.post("/v1/posts/import", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["name"]) == (400, "InvalidInputError"), answer.text
    assert (await client.post("/v1/posts/count", json={})).json()["value"] == 0


async def test_an_arrow_stream_whose_buffers_lie_is_refused(client: httpx.AsyncClient) -> None:
    honest = arrow(pa.table({"s": ["xyz"]}))
    body = honest.replace(b"\0\0\0\0\3\0\0\0", b"\0\0\0\0\xff\xff\xff\0")
    assert body != honest
    kind = {"Content-Type": "application/vnd.apache.arrow.stream"}
    answer = await client.post("/v1/posts/import", content=body, headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")
    assert "not a readable Arrow stream" in answer.json()["detail"]


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls(2**31 - 1),
        pa.ListArray.from_arrays(pa.array([0, 2**30], pa.int32()), pa.nulls(2**30)),
        pa.StructArray.from_arrays([pa.nulls(2**31 - 1)], names=["x"]),
    ],
)
async def test_a_few_bytes_that_stand_for_billions_of_values_are_refused(
    client: httpx.AsyncClient, database: EngineDatabase, column: pa.Array
) -> None:
    kind = {"Content-Type": "application/vnd.apache.arrow.stream"}
    answer = await client.post("/v1/posts/import", content=arrow(pa.table({"x": column})), headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")
    assert "cannot be meant" in answer.json()["detail"]
    assert database.asked == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/csv", b'"a\n1'), ("application/x-ndjson", b"{\n"), ("application/vnd.apache.parquet", b"PAR1")],
)
async def test_errors_say_nothing_of_the_gateways_disk(client: httpx.AsyncClient, kind: str, body: bytes) -> None:
    answer = await client.post("/v1/posts/import", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert "parquedb-gateway-" not in answer.text
    assert "body." not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content-Type": "text/plain"}, 415), ({}, 415), ({**NDJSON, "Content-Encoding": "gzip"}, 415)],
)
async def test_an_import_of_another_type_is_refused_unread(
    client: httpx.AsyncClient, database: EngineDatabase, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/v1/posts/import", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, "INVALID_INPUT")
    assert database.asked == []


async def test_an_import_has_a_size_and_leaves_nothing_on_the_disk(
    clients: Clients, database: EngineDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client = clients(import_bytes_max=2048)
    answer = await client.post("/v1/posts/import", content=slowly(b'{"a":1}\n' * 1000), headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "INVALID_INPUT")
    assert database.asked == []
    assert list(tmp_path.glob("parquedb-gateway-*")) == []
    assert (await client.get("/v1/posts/export")).status_code == 200
    assert list(tmp_path.glob("parquedb-gateway-*")) == []


async def test_an_export_has_a_size(clients: Clients) -> None:
    client = clients(export_bytes_max=1024)
    await client.post("/v1/posts/import", content=b'{"a":"' + b"x" * 2000 + b'"}\n', headers=NDJSON)
    answer = await client.get("/v1/posts/export")
    assert (answer.status_code, answer.json()["code"]) == (507, "QUOTA_EXCEEDED")


@pytest.mark.parametrize("given", ["format=xml", "filter={", "fromat=csv", "format=ndjson&delimiter=;"])
async def test_an_export_that_cannot_be_is_a_status(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get(f"/v1/posts/export?{given}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_header_with_another_delimiter_is_taken_where_the_comma_is_asked_for(client: httpx.AsyncClient) -> None:
    body, headers = b"id;city\n1;Bern\n", {"Content-Type": "text/csv"}
    refused = await client.post("/v1/posts/import", content=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_INPUT")
    assert "expected ';', or ',' where it really is one column" in refused.json()["detail"]
    taken = await client.post("/v1/posts/import?delimiter=,", content=body, headers=headers)
    assert (taken.status_code, taken.json()["rows"]) == (200, 1)


async def test_imports_at_a_time_are_counted(clients: Clients) -> None:
    client = clients(streams_max=1)
    with client._transport.app.state.gateway.imports.entered():  # type: ignore[attr-defined]
        answer = await client.post("/v1/posts/import", content=b"{}\n", headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (503, "BACKPRESSURE")
    assert (await client.post("/v1/posts/import", content=b"{}\n", headers=NDJSON)).status_code == 200


async def test_a_sender_who_stands_still_is_not_waited_for(clients: Clients) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await clients(stalled_s=0.05).post("/v1/posts/import", content=never(), headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (408, "RPC_TIMEOUT")
