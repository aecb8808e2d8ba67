"""Writes the database that every later version must open, and what is to be found in it.

    python -m tests.support.versions.make_fixture tests/storage/fixtures/format-1.zip

To be run once for each format of stored objects; what it wrote is kept in the repository and never written again. It
has documents of every type of value, rows in data files that deletion vectors mark dead, merged files, folded log
entries in tails and in history, entries that nobody has folded, a bulk load, two versions of a schema, sessions and
callers' own request ids.
"""

import asyncio
import sys
import tempfile
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests import schema_arguments
from parquedb.actors.requests.operations import SessionRequest
from parquedb.clock import SystemClock
from parquedb.documents.codec import encode
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.local import LocalBackend
from tests.support.engines import NAMESPACE, engine, opened, outcome, run

MADE_AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
SESSION = bytes(range(16))
EXPECTED = "expected.msgpack"
"""Member of the archive, as `documents.codec` writes it: documents by id, answers by request, the number of changes."""

VALUES: dict[str, Any] = {
    "int": 7,
    "long": 2**63 - 1,
    "longer": -(10**40),
    "float": 1.0,
    "tiny": 5e-324,
    "infinite": float("-inf"),
    "text": "Grüße, 世界",
    "empty": "",
    "true": True,
    "null": None,
    "decimal": Decimal("-1.50"),
    "huge": Decimal("1E+400"),
    "bytes": b"\x00\xff",
    "uuid": UUID(int=2**127 + 1),
    "date": date(1969, 12, 31),
    "moment": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    "list": [1, "two", [3.0, None], {"four": 4}],
    "nested": {"a": {"b": {"c": [True]}}, "with.dot": 1},
}
SCHEMAS = ({"n": "int?", "name": "string?"}, {"n": "int?", "name": "string?", "mail": "string?"})


class MovedClock(SystemClock):
    """The machine's clock, set to another time of day: request ids are forgotten ten minutes later."""

    def __init__(self, at: datetime) -> None:
        self._ahead = at - datetime.now(UTC)

    def now(self) -> datetime:
        return super().now() + self._ahead


async def fill(storage: StorageBackend, clock: SystemClock) -> dict[str, Any]:
    """Write the database; return what is to be found in it."""
    async with opened(storage, clock=clock, seed=1) as owner:
        await _first_owner(owner)
    last = engine(storage, clock=clock, seed=2, checkpoint_entries_max=8)
    await last.open()
    answers = await _second_owner(last)
    page = await run(last, "find", limit=1000, include_deleted=True)
    changes = await run(last, "changes", after=0, limit=1000, wait_s=0.0)
    # It says no goodbye: as if it had been killed.
    last.abandon()
    documents = {document["$id"].partition("/")[2]: document for document in page["items"]}
    return {"documents": documents, "answers": answers, "changes": len(changes["changes"])}


async def _first_owner(owner: NamespaceEngine) -> None:
    for schema in SCHEMAS:
        await owner.execute([schema_arguments.register(NAMESPACE, schema)])
    await run(owner, "create", "all-types", VALUES)
    for at in range(60):
        await run(owner, "create", f"d{at:02}", {"n": at, "name": f"document {at}", "odd": at if at % 7 else str(at)})
    await owner.flush()
    # Dead rows of the first file: changed, deleted softly and for good.
    for at in range(0, 60, 6):
        await run(owner, "update", f"d{at:02}", {"$inc": {"n": 1000}})
    await run(owner, "delete", "d01")
    await run(owner, "delete", "d02", hard=True)
    await owner.flush()
    await owner.compact()
    for at in range(0, 60, 20):
        await run(owner, "update", f"d{at:02}", {"$set": {"name": "after the merge"}})
    await owner.flush()
    table = pa.table({"$id": [f"bulk{at}" for at in range(20)], "n": range(20), "name": ["bulk"] * 20})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    await run(owner, "insert_arrow", None, {"ipc": sink.getvalue().to_pybytes()})


async def _second_owner(owner: NamespaceEngine) -> dict[str, Any]:
    given = await outcome(owner, "update", "d03", {"$inc": {"n": 1}}, request="given-by-a-caller")
    answers = {"given": given.result()}
    for number in range(1, 13):
        # Enough for a checkpoint that folds them into a tail.
        request = SessionRequest(SESSION, number, 1, owner.tail)
        body = {"n": number, "name": "of a session"}
        answers[str(number)] = (await outcome(owner, "create", f"s{number}", body, request=request)).result()
    await run(owner, "update", "all-types", {"$set": {"late": 1}})
    return answers


def main(target: Path) -> None:
    """Write the archive."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        expected = asyncio.run(fill(LocalBackend(str(place)), MovedClock(MADE_AT)))
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in place.rglob("*") if path.is_file() and "~tmp" not in path.parts):
                archive.write(path, f"database/{path.relative_to(place)}")
            archive.writestr(EXPECTED, encode(expected))
    sys.stdout.write(f"{target.stat().st_size} bytes, {len(expected['documents'])} documents\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
