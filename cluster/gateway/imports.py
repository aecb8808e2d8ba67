"""Bulk imports: `POST /v1/{namespace}/import`, streamed to the gateway's disk and from there into the database."""

import asyncio
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from starlette.responses import Response

from parquedb.cluster.gateway.answers import json_response
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.problems import Refusal
from parquedb.cluster.gateway.spool import spool_body, spool_folder
from parquedb.errors import InvalidInputError, ParqueDBError
from parquedb.errors.base import Parts, rebuild
from parquedb.storage.exchange.file_formats import CSV, JSON_LINES, PARQUET
from parquedb.storage.files.columns import ID_COLUMN

ARROW: Final = "arrow"
MEDIA_TYPES: Final = {
    "application/vnd.apache.arrow.stream": ARROW,
    "application/x-ndjson": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "text/csv": CSV,
    "application/vnd.apache.parquet": PARQUET,
}
TABLE_BYTES: Final = 64 << 20
"""Arrow data that is held and loaded at a time, bytes, unless a single batch is larger."""
TABLE_ROWS: Final = 1 << 20
"""The same in rows."""

VALUES_PER_BYTE: Final = 512
"""Values that a byte of an Arrow stream may stand for; compressed runs come near it, nothing honest goes beyond."""

VALUES_FREE: Final = 1_000_000
"""So many values are taken in any case."""

_TEXTS: Final = ("delimiter", "quote_char", "encoding")
_FLAGS: Final = ("header", "infer_types")
_DATA: Final = ("column_names", "null_values", "types")


async def import_documents(call: Call) -> Response:
    """Store the rows of a body as new documents; what was stored before a refusal stays."""
    call.operation = "import"
    call.query.expect("id_column", "on_error", "actor", *_TEXTS, *_FLAGS, *_DATA)
    permissions, namespace = call.principal.permissions, call.namespace
    for operation in ("create_many", "insert_arrow"):
        permissions.check(operation, namespace)
    kind = _format(call)
    with call.gateway.imports.entered():
        async with spool_folder() as folder:
            # Arguments are looked at first: nobody should send a gigabyte to hear of a typo.
            options = _options(call, kind)
            path = folder / f"body.{kind}"
            size = await spool_body(call, path)
            load = _load_arrow if kind == ARROW else _import_file
            try:
                return json_response({**await load(call, path, options), "bytes": size})
            except ParqueDBError as error:
                raise _without_path(error, path) from None


def _format(call: Call) -> str:
    media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        error = InvalidInputError(f"Content-Type: expected one of {', '.join(MEDIA_TYPES)}, got {media_type[:80]!r}")
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, error, {"Accept": ", ".join(MEDIA_TYPES)})
    coding = call.headers.get("content-encoding", "identity")
    if coding != "identity":
        # A few bytes could unfold to more than any disk holds.
        error = InvalidInputError(f"Content-Encoding: expected the data as they are, got {coding[:40]!r}")
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, error, {"Accept-Encoding": "identity"})
    return MEDIA_TYPES[media_type]


def _without_path(error: ParqueDBError, path: Path) -> ParqueDBError:
    """Return an error that says nothing of the gateway's disk."""
    message = error.message.replace(f"{path.name}: ", "").replace(str(path), "the body").replace("path: ", "")
    context = {name: value for name, value in error.context.items() if name != "path" and value != "path"}
    cause = None if str(path.parent) in str(error.cause) else error.cause
    return rebuild(Parts(type(error), message, error.code, context, {}), cause)


def _options(call: Call, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "id_column": call.query.get("id_column", ID_COLUMN),
        "actor": call.writes_as(call.query.get("actor")),
    }
    if kind != ARROW:
        options["on_error"] = call.query.get("on_error", "stop")
    options |= {name: call.query[name] for name in _TEXTS if name in call.query}
    options |= {name: call.query.flag(name) for name in _FLAGS if name in call.query}
    options |= {name: call.query.json(name) for name in _DATA if name in call.query}
    options["request_id"] = call.request_key(b"")
    return options


async def _import_file(call: Call, path: Path, options: dict[str, Any]) -> dict[str, Any]:
    imported = await call.database.collection(call.namespace).import_file(path, timeout_s=call.timeout_s, **options)
    errors = [{"line": one.line, "reason": one.reason} for one in imported.errors]
    return {
        "rows": imported.rows,
        "skipped": imported.skipped,
        "errors": errors,
        "seconds": imported.seconds,
    }


async def _load_arrow(call: Call, path: Path, options: dict[str, Any]) -> dict[str, Any]:
    collection, key, rows = call.database.collection(call.namespace), options.pop("request_id"), 0
    tables = await asyncio.to_thread(_tables, path)
    number = 0
    while (table := await asyncio.to_thread(next, tables, None)) is not None:
        part = None if key is None else f"{key}-{number}"
        rows += await collection.insert_arrow(table, request_id=part, timeout_s=call.timeout_s, **options)
        number += 1
    return {"rows": rows, "skipped": 0, "errors": []}


def _tables(path: Path) -> Iterator[pa.Table]:
    """Yield the data of an Arrow stream, a bounded part at a time.

    Raises:
        InvalidInputError: it is no Arrow stream, or its buffers are not what they say.
    """
    size, count = path.stat().st_size, 0
    held: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                # Before anything of it is looked at: what does not fit together fails there in ways nobody foresees.
                batch.validate(full=True)
                count += batch.num_rows + sum(map(_values, batch.columns))
                if count > VALUES_FREE and count > VALUES_PER_BYTE * size:
                    # Nulls need no bytes: a few could stand for more than any memory holds.
                    raise InvalidInputError(f"{count} values in a stream of {size} bytes cannot be meant")
                for start in range(0, batch.num_rows, TABLE_ROWS):
                    part = batch.slice(start, TABLE_ROWS)
                    if held and _is_full([*held, part]):
                        yield pa.Table.from_batches(held)
                        held = []
                    held.append(part)
            yield pa.Table.from_batches(held, reader.schema)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:300]
        raise InvalidInputError(f"not a readable Arrow stream: {reason}") from error


def _is_full(batches: Sequence[pa.RecordBatch]) -> bool:
    rows, size = sum(one.num_rows for one in batches), sum(one.nbytes for one in batches)
    return bool(rows > TABLE_ROWS or size > TABLE_BYTES)


def _values(array: pa.Array) -> int:
    """Return how many values an array has at all levels."""
    kind = array.type
    if pa.types.is_struct(kind):
        return len(array) + sum(_values(array.field(index)) for index in range(kind.num_fields))
    if pa.types.is_map(kind):
        return len(array) + _values(array.keys) + _values(array.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return len(array) + _values(array.values)
    return len(array)
