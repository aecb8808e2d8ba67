"""Exports: `GET /v1/{namespace}/export`, documents of one moment in the format that is asked for."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.responses import Response

from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.problems import Refusal
from parquedb.cluster.gateway.spool import SpooledResponse, chunks_of, spool_folder
from parquedb.errors import InvalidInputError, QuotaExceededError

FORMATS: Final = {
    "ndjson": ("jsonl", "application/x-ndjson"),
    "csv": ("csv", "text/csv; charset=utf-8"),
    "parquet": ("parquet", "application/vnd.apache.parquet"),
    "arrow": ("parquet", "application/vnd.apache.arrow.stream"),
}
"""Each with the format of the file that it is made from, and its media type."""

ROWS_HEADER: Final = "Parquedb-Rows"
SEQ_HEADER: Final = "Parquedb-Seq"

_BATCH_ROWS: Final = 16_384


async def export_documents(call: Call) -> Response:
    """Answer with many documents as a file."""
    call.operation = "export"
    call.query.expect("format", "filter", "fields", "sort", "as_of", "delimiter", "header", "null_value")
    call.principal.permissions.check("export", call.namespace)
    name = call.query.get("format", "ndjson")
    if name not in FORMATS:
        raise InvalidInputError(f"format: expected one of {', '.join(FORMATS)}, got {name[:40]!r}", field="format")
    kind, media_type = FORMATS[name]
    csv: dict[str, Any] = {one: call.query[one] for one in ("delimiter", "null_value") if one in call.query}
    if "header" in call.query:
        csv["header"] = call.query.flag("header")
    async with AsyncExitStack() as stack:
        stack.enter_context(call.gateway.exports.entered())
        folder = await stack.enter_async_context(spool_folder())
        path = folder / f"export.{kind}"
        exported = await call.database.collection(call.namespace).export_file(
            path,
            format=kind,
            filter=call.query.json("filter"),
            fields=call.query.json("fields"),
            sort=call.query.sort(),
            as_of=call.query.as_of(),
            timeout_s=call.timeout_s,
            **csv,
        )
        _check_size(call, exported.bytes)
        headers = {ROWS_HEADER: str(exported.rows), SEQ_HEADER: str(exported.seq)}
        if name != "arrow":
            headers["Content-Length"] = str(exported.bytes)
        return SpooledResponse(
            (lambda: _arrow_chunks(path)) if name == "arrow" else (lambda: chunks_of(path)),
            media_type,
            headers,
            stalled_s=call.gateway.settings.stalled_s,
            kept=stack.pop_all(),
        )


def _check_size(call: Call, size: int) -> None:
    most = call.gateway.settings.export_bytes_max
    if size > most:
        error = QuotaExceededError(f"the export has {size} bytes, and {most} is the most; export a part by filter")
        raise Refusal(HTTPStatus.INSUFFICIENT_STORAGE, error)


class _Chunks:
    """A file that PyArrow writes to, and whose content is taken away as it comes."""

    closed = False

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: pa.Buffer) -> int:
        """Keep some bytes."""
        self._held.append(bytes(data))
        return len(self._held[-1])

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to close."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        held, self._held = self._held, []
        return b"".join(held)


def _arrow_chunks(path: Path) -> Iterator[bytes]:
    """Yield a Parquet file as an Arrow stream."""
    sink = _Chunks()
    with pq.ParquetFile(path) as file, pa.ipc.new_stream(sink, file.schema_arrow) as writer:
        for batch in file.iter_batches(_BATCH_ROWS):
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()
