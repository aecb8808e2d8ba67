"""How a query is carried out, for people."""

from typing import Final

from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.wording import counted, duration, one_line, size
from parquedb.cluster.client.explanation import Explanation, FileScan

_FILES_SHOWN: Final = 20

PLANS: Final = {
    "id_order": "in order of $id, until there are enough",
    "top_k": "all matches are compared by what they sort by; the first are kept",
    "count": "matches are counted",
}


def show_explanation(found: Explanation, screen: Console) -> None:
    """Print what `explain` says."""
    screen.print(f"[bold]plan[/]        {escape(PLANS.get(found.plan, found.plan))}")
    for condition in found.conditions:
        decided = f"by columns in {counted(condition.by_columns, 'file')}"
        if condition.by_documents:
            decided += f", by documents in {counted(condition.by_documents, 'file')}"
        screen.print(f"[bold]condition[/]   {escape(one_line(condition.path))} {condition.operator}: {decided}")
    screen.print(
        f"[bold]files[/]       {found.files_scanned:,} looked at, {found.files_skipped:,} skipped; "
        f"{counted(found.memory_rows, 'document')} in memory besides"
    )
    screen.print(f"[bold]row groups[/]  {found.row_groups_scanned:,} looked at, {found.row_groups_skipped:,} skipped")
    screen.print(f"[bold]rows[/]        {found.rows_scanned:,} looked at, {found.rows_skipped:,} skipped")
    screen.print(f"[bold]bytes[/]       {size(found.bytes_scanned)} looked at, {size(found.bytes_skipped)} skipped")
    if found.duration_s is not None:
        read = "none, all was in memory" if found.cached else _read(found)
        screen.print(f"[bold]storage[/]     {read}")
        screen.print(
            f"[bold]result[/]      {counted(found.returned or 0, 'document')} in {duration(found.duration_s)}, "
            f"{found.documents_tested or 0:,} tested one by one"
        )
    for file in found.files[:_FILES_SHOWN]:
        _show_file(file, screen)
    left = len(found.files) + found.files_left_out - _FILES_SHOWN
    if left > 0:
        screen.print(f"  [dim]and {counted(left, 'file')} more[/]")


def _read(found: Explanation) -> str:
    return f"{counted(found.storage_reads or 0, 'read')}, {size(found.storage_bytes or 0)}"


def _show_file(file: FileScan, screen: Console) -> None:
    dead = f", {file.dead_rows:,} dead" if file.dead_rows else ""
    groups = file.row_groups_scanned + file.row_groups_skipped
    screen.print(
        f"  {escape(file.key)}: {file.how}, {counted(file.rows, 'row')}{dead}, "
        f"{file.row_groups_scanned:,} of {counted(groups, 'row group')}, {size(file.bytes)}"
    )
