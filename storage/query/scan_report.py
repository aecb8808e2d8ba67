"""What a query looks at, in numbers that the footers of the files bear out, and where each condition is decided.

Before a query runs this is what statistics leave: the most that it can look at. Afterwards it is what it did look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from parquedb.documents.filters import Predicate
from parquedb.documents.filters.tree import Filter, Leaf, Not
from parquedb.storage.files.columns import RESIDUAL_COLUMN
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.row_groups import Footer
from parquedb.storage.query.pushdown import Rows, Verdict, bit_masks, fields_of
from parquedb.storage.query.scan_counts import ScanCounts
from parquedb.storage.query.scan_plan import ScanSnapshot, file_verdict, groups

FILES_TOLD: Final = 100
"""Files told of one by one; the totals are of all."""

CONDITIONS_TOLD: Final = 100


_SUMS: Final = (
    "row_groups_scanned", "row_groups_skipped", "rows_scanned", "rows_skipped", "bytes_scanned", "bytes_skipped",
    "dead_rows",
)  # fmt: skip


async def planned(
    snapshot: ScanSnapshot, predicate: Predicate, more: Sequence[str], *, counting: bool
) -> dict[str, Any]:
    """Return what statistics leave to a query, which is not run.

    Args:
        snapshot: What it would see.
        predicate: Its filter.
        more: Columns that it looks at besides those of the filter.
        counting: Whether it only counts: files of which every row passes are then counted by their statistics.
    """
    counts = ScanCounts()
    for file in snapshot.files:
        verdict = file_verdict(snapshot, predicate, file)
        if verdict is Verdict.NONE or (counting and verdict is Verdict.ALL):
            continue
        names = {*fields_of(predicate.filter), *more}
        if not file.residual_paths.isdisjoint(names):
            names.add(RESIDUAL_COLUMN)
        known = (await snapshot.source.cache.footer(file)).known
        for group in await groups(replace(snapshot, counts=counts), predicate, file):
            counts.look(file.key, group.number, names & known)
    return await reported(snapshot, predicate, counts, counting=counting)


async def reported(
    snapshot: ScanSnapshot, predicate: Predicate, counts: ScanCounts, *, counting: bool
) -> dict[str, Any]:
    """Return what a query looked at, as plain data: `files`, the totals, `memory_rows` and `conditions`.

    Args:
        snapshot: What it saw.
        predicate: Its filter.
        counts: What it added up.
        counting: See `planned`.
    """
    sums = dict.fromkeys(("files_scanned", "files_skipped", *_SUMS), 0)
    told: list[dict[str, Any]] = []
    conditions = [(leaf, _Decided()) for leaf in islice(leaves(predicate.filter), CONDITIONS_TOLD)]
    for file in snapshot.files:
        footer = await snapshot.source.cache.footer(file)
        one = _file(file, footer, counts, len(snapshot.dead.get(file.key, ())))
        verdict = file_verdict(snapshot, predicate, file)
        by_groups = {number for key, number in counts.ruled_out if key == file.key}
        verdict = Verdict.NONE if len(by_groups) == footer.groups else verdict
        one["how"] = _how(one, verdict, counting=counting)
        sums["files_scanned" if one["row_groups_scanned"] else "files_skipped"] += 1
        for name in _SUMS:
            sums[name] += one[name]
        if len(told) < FILES_TOLD:
            told.append(one)
        if one["row_groups_scanned"]:
            columns = _no_rows(footer)
            for leaf, decided in conditions:
                decided.add(_is_decided(leaf, file, columns))
    return {
        **sums,
        "memory_rows": len(snapshot.memory),
        "files": told,
        "files_left_out": len(snapshot.files) - len(told),
        "conditions": [
            {
                "path": ".".join(leaf.path),
                "operator": f"${getattr(leaf, 'op', 'elemMatch')}",
                "by_columns": decided.yes,
                "by_documents": decided.no,
            }
            for leaf, decided in conditions
        ],
    }


@dataclass(slots=True)
class _Decided:
    """In how many of the files looked at the typed columns decide a condition, and in how many documents are asked."""

    yes: int = 0
    no: int = 0

    def add(self, decided: bool) -> None:
        self.yes += decided
        self.no += not decided


def leaves(tree: Filter) -> Iterator[Leaf]:
    """Yield the conditions of a filter, `$elemMatch` as one."""
    if isinstance(tree, Leaf):
        yield tree
        return
    for part in (tree.part,) if isinstance(tree, Not) else tree.parts:
        yield from leaves(part)


def _is_decided(leaf: Leaf, file: DataFile, columns: Mapping[str, pa.Array]) -> bool:
    """Whether the columns of a file alone tell which rows pass: asked of no rows, by the very code that asks all."""
    may, must = bit_masks(leaf, Rows(columns, 0, file.residual_paths))
    return may is must


def _no_rows(footer: Footer) -> dict[str, pa.Array]:
    schema = footer.metadata.schema.to_arrow_schema()
    return {one.name: pa.array([], one.type) for one in schema}


def _file(file: DataFile, footer: Footer, counts: ScanCounts, dead_rows: int) -> dict[str, Any]:
    scanned = rows = size = whole = 0
    for number in range(footer.groups):
        names = counts.looked_at.get((file.key, number))
        for column, stored in _column_bytes(footer, number):
            whole += stored
            size += stored if names is not None and column in names else 0
        if names is not None:
            scanned += 1
            rows += footer.starts[number + 1] - footer.starts[number]
    return {
        "key": file.key,
        "rows": file.rows,
        "bytes": file.bytes,
        "dead_rows": dead_rows,
        "row_groups_scanned": scanned,
        "row_groups_skipped": footer.groups - scanned,
        "rows_scanned": rows,
        "rows_skipped": file.rows - rows,
        "bytes_scanned": size,
        "bytes_skipped": whole - size,
    }


def _column_bytes(footer: Footer, group: int) -> Iterator[tuple[str, int]]:
    row_group = footer.metadata.row_group(group)
    for number in range(row_group.num_columns):
        column = row_group.column(number)
        yield column.path_in_schema.partition(".")[0], column.total_compressed_size


def _how(one: Mapping[str, Any], verdict: Verdict, *, counting: bool) -> str:
    if one["row_groups_scanned"]:
        return "scanned"
    if verdict is Verdict.NONE:
        return "ruled out"
    return "counted" if counting and verdict is Verdict.ALL else "not needed"
