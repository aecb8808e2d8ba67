"""How a find or count is carried out: its plan, what it may look at, and, once it has run, what it did look at.

The value of an `explain` is plain data:

    operation     `find` or `count`
    verbosity     `queryPlanner`: nothing is run, numbers are the most that statistics leave; `executionStats`: it ran
    plan          `id_order`: matches in order of `$id`, as many as asked for; `top_k`: all matches are compared, the
                  first of the order are kept; `count`
    conditions    per condition of the filter: `path`, `operator`, and of the files looked at in how many the typed
                  columns decide it (`by_columns`) and in how many documents may have to be asked (`by_documents`)
    files_scanned, files_skipped, row_groups_scanned, row_groups_skipped, rows_scanned, rows_skipped, dead_rows
    bytes_scanned, bytes_skipped  stored bytes of columns: those looked at, and the others
    files         the first 100: `key rows bytes dead_rows`, its share of the numbers above, and `how`: `scanned`,
                  `ruled out` by statistics, `counted` by statistics, or `not needed` for the answer
    files_left_out                files not told of one by one
    memory_rows   documents that are in no file yet

and for `executionStats` also

    returned      documents found, or counted
    documents_tested              documents that the filter was applied to one by one
    storage_reads, storage_bytes  calls to the store that this query began, and what they returned
    cached        whether there were none
    duration_s    seconds
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from parquedb.actors.reads.queries import Ask, filter_of, prepare
from parquedb.actors.requests.read_arguments import EXECUTION_STATS, QUERY_PLANNER
from parquedb.documents.filters import compile_filter
from parquedb.documents.sorting import ID, parse_sort
from parquedb.errors import ValidationError
from parquedb.storage.query.scan_counts import ScanCost, ScanCounts, counting_reads
from parquedb.storage.query.scan_plan import ScanSnapshot
from parquedb.storage.query.scan_report import planned, reported

Options = Mapping[str, Any]


def explained_cost(told: Mapping[str, Any]) -> ScanCost | None:
    """Return what the query of an `explain` came to; None where it was only planned."""
    if "storage_reads" not in told:
        return None
    return ScanCost(**{name: told[name] for name in ScanCost._fields})


def prepare_explain(options: Options, *, namespace: str, memory_max: int) -> Ask:
    """Return what explains a query over a snapshot; arguments and errors as of `queries.prepare`."""
    operation, verbosity = options.get("operation", "find"), options.get("verbosity", EXECUTION_STATS)
    if operation not in {"find", "count"} or verbosity not in {QUERY_PLANNER, EXECUTION_STATS}:
        raise ValidationError(
            field="operation", expected="find or count, queryPlanner or executionStats", actual=str(operation)[:80]
        )
    ask = prepare(operation, options, namespace=namespace, memory_max=memory_max)
    predicate = compile_filter(filter_of(options))
    counting = operation == "count"
    sort = parse_sort(options.get("sort"))
    sorted_ = bool(sort.fields) or bool(options.get("skip"))
    said = {
        "operation": operation,
        "verbosity": verbosity,
        "plan": "count" if counting else "top_k" if sorted_ else "id_order",
    }

    async def explain(snapshot: ScanSnapshot) -> dict[str, Any]:
        if verbosity == QUERY_PLANNER:
            more = () if counting else tuple(sort.columns) if sorted_ else (ID,)
            return {**said, **await planned(snapshot, predicate, more, counting=counting)}
        counts = ScanCounts()
        started_s = time.perf_counter()
        with counting_reads(counts):
            answer = await ask(replace(snapshot, counts=counts))
        took_s = time.perf_counter() - started_s
        report = await reported(snapshot, predicate, counts, counting=counting)
        return {
            **said,
            **report,
            "returned": answer if counting else len(answer["items"]),
            "documents_tested": counts.documents_tested,
            "storage_reads": counts.storage_reads,
            "storage_bytes": counts.storage_bytes,
            "cached": not counts.storage_reads,
            "duration_s": took_s,
        }

    return explain
