"""Making the data files of a bulk load and storing them: whoever does it, the owner or a loader of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import pyarrow as pa

from parquedb.storage.bulk.load_entry import with_found
from parquedb.storage.bulk.load_file import BulkFile, Plan, Rows, build
from parquedb.storage.bulk.table import check_names, rows_of
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.commit import Committer
from parquedb.storage.log.manifest import object_key
from parquedb.storage.together import together

FILES_AT_ONCE: Final = 2
"""Files of one load that are made and stored at the same time; each is in memory as a whole."""

Run = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Stored:
    """The files of one load, in the order of their rows.

    Attributes:
        files: Their seqs count from 0 in each.
        columns: What is in them.
    """

    files: tuple[DataFile, ...]
    columns: ColumnRegistry


class BulkStore:
    """Makes and stores files under names of one epoch.

    Args:
        committer: Stores.
        epoch: Of the owner that is to commit the files.
        rng: Names of files.
        run: Runs CPU work off the event loop.

    Attributes:
        run: As given.
    """

    def __init__(self, committer: Committer, epoch: int, rng: random.Random, run: Run) -> None:
        self._committer = committer
        self._epoch = epoch
        self._rng = rng
        self.run = run

    async def rows(self, table: pa.Table, plan: Plan, first_ulid: int) -> Rows:
        """Check a table and return its rows; raises like `check_names` and `rows_of`."""
        check_names(table.schema, plan.id_column)
        found: Rows = await self.run(partial(rows_of, table, plan, first_ulid))
        return found

    async def store(self, rows: Rows, plan: Plan) -> Stored:
        """Make the files of some rows and store them.

        Raises:
            ValidationError: see `build`.
            ParqueDBError: storage refused one; others may be stored, as garbage that a later owner collects.
        """
        parts = rows.parts()
        gate = asyncio.Semaphore(FILES_AT_ONCE)

        async def one(part: Rows) -> BulkFile:
            async with gate:
                return await self._one(part, plan)

        if rows.rest or plan.hold is not None:
            # What values show of a column's type in one file binds the next.
            made: list[BulkFile] = []
            for part in parts:
                made.append(await self._one(part, plan))
                plan = replace(plan, registry=with_found(plan.registry, made[-1].columns))
        else:
            made = await together([one(part) for part in parts])
        columns = ColumnRegistry.empty()
        for built in made:
            columns = with_found(columns, built.columns)
        return Stored(tuple(built.file for built in made), columns)

    async def _one(self, part: Rows, plan: Plan) -> BulkFile:
        key = object_key("data", self._epoch, self._rng.randbytes(16).hex(), ".parquet")
        built: BulkFile = await self.run(partial(build, key, part, plan))
        await self._committer.store(namespace_prefix(plan.namespace) + key, built.data)
        return replace(built, data=b"")
