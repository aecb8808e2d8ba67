"""Counts, sizes and positions of one namespace as plain data, for `stats()`."""

from typing import Any

from parquedb.actors.folding.checkpoint import Checkpointer
from parquedb.actors.folding.compaction import Compactor
from parquedb.actors.reads.query_gate import QueryGate
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.writes.write_queue import WriteQueue
from parquedb.actors.writes.writer import Writer
from parquedb.storage.compaction.plan import candidates, tiers
from parquedb.storage.log.collection import Collector


def statistics(
    data: NamespaceState, checkpointer: Checkpointer, compactor: Compactor, collector: Collector
) -> dict[str, Any]:
    """Return what memory tells about a namespace: no I/O, time in proportion to the number of files.

    `live_rows` may count a document twice, in memory and in a file, until a restarted owner has looked for the file's
    row (`unresolved_rows` of them at most).
    """
    files, frozen = data.files.files, data.frozen
    found = candidates(files, data.files.live_dead)
    stored = sum(one.live for one in found)
    # Copies, made in one step: this may run in another thread than the writer.
    active = dict(data.active.rows)
    in_memory = sum(row.exists for row in active.values())
    if frozen is not None:
        in_memory += sum(row.exists for id_, row in dict(frozen.rows).items() if id_ not in active)
    index_bytes = data.files.index_bytes
    return {
        "epoch": data.epoch,
        "tail": data.tail,
        "seq": data.next_seq - 1,
        "checkpoint_through": data.base.through if data.base else 0,
        "unresolved_rows": len(data.active.unresolved) + (len(frozen.unresolved) if frozen else 0),
        "live_rows": stored + in_memory,
        "files": len(files),
        "file_rows": sum(file.rows for file in files),
        "file_bytes": sum(file.bytes for file in files),
        "dead_rows": sum(file.rows for file in files) - stored,
        "tiers": tiers(found),
        "cache_bytes": data.files.cache.bytes,
        "index_bytes": index_bytes,
        "index_bytes_per_row": index_bytes / stored if stored else 0.0,
        "checkpoints": checkpointer.checkpoints,
        "flushes": checkpointer.flushes,
        "compactions": compactor.total.compactions,
        "compaction_failures": compactor.failures,
        "compacted_bytes": compactor.total.bytes_in,
        "rewritten_bytes": compactor.total.bytes_out,
        "collected": collector.deleted,
        "sessions": len(data.sessions),
        "schema_version": data.schemas.registered.number,
        "schema_violations": data.schemas.warned.count,
    }


def lag(  # noqa: PLR0913, PLR0917 - one of each part of an engine
    data: NamespaceState,
    checkpointer: Checkpointer,
    compactor: Compactor,
    queue: WriteQueue,
    writer: Writer,
    gate: QueryGate,
) -> dict[str, Any]:
    """Return how far a namespace is behind: what waits, since when, and what was refused. Costs nothing; any thread.

    `queue_age_s` is the age of the first write in line, `commit_pending_s` that of the commit under way, `unflushed_s`
    that of the oldest change that is in memory and the log alone, of which there are `memtable_rows`; `seq` is the last
    change that is durable.
    """
    frozen = data.frozen
    errors = (checkpointer.last_error, compactor.last_error)
    return {
        "epoch": data.epoch,
        "seq": data.next_seq - 1,
        "queued_ops": queue.ops,
        "queued_bytes": queue.bytes,
        "queue_age_s": queue.oldest_s,
        "refused": dict(queue.admission.refused),
        "queries_running": gate.running,
        "queries_waiting": gate.waiting,
        "queries_refused": gate.admission.refused["ops"],
        "unresolved": writer.unresolved,
        "commits": writer.commits,
        "commit_s": writer.timing.last_s,
        "commit_pending_s": writer.timing.pending_s,
        "unfolded_entries": len(data.recent),
        "unfolded_bytes": data.recent_bytes,
        "unflushed_s": checkpointer.unflushed_s,
        "memtable_rows": len(data.active) + (len(frozen) if frozen else 0),
        "memtable_bytes": data.active.bytes + (frozen.bytes if frozen else 0),
        "last_error": next((str(error) for error in errors if error is not None), None),
    }
