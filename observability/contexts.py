"""What a hook is told: one frozen context when an operation starts, one frozen result when it ends.

Units are in the names: `_s` seconds, bytes for sizes, counts for the rest. `None` means "not known here", never zero.
Mappings are the caller's own objects; a hook reads them and must not change them.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Side = Literal["client", "actor"]
"""Where an operation was seen: in the calling process, or in the actor that owns the namespace."""


_ID_BITS: Final = 64
_SCATTER: Final = 0x9E3779B97F4A7C15
"""Odd, so that multiplying by it, modulo 2**64, keeps numbers apart; neighbours end up far from each other."""


def new_operation_id() -> str:
    """Return 16 hexadecimal digits: no two alike in a process, and none like another's but by an unlikely chance.

    They begin at a place that the system has drawn, not `random`: a program that seeds that would repeat them in every
    process. Asking the system each time would cost twice as much.
    """
    return f"{next(_numbers) * _SCATTER % (1 << _ID_BITS):016x}"


def _drawn_numbers() -> Iterator[int]:
    return itertools.count(int.from_bytes(os.urandom(_ID_BITS // 8), "big"))


def _draw_again() -> None:
    global _numbers  # noqa: PLW0603 - a forked child must not go on where its parent does
    _numbers = _drawn_numbers()


_numbers = _drawn_numbers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_draw_again)


@dataclass(frozen=True, slots=True)
class QueryContext:
    """A read that is about to run.

    Attributes:
        operation: `get`, `find`, `count`, ...; in the actor `execute` for a call whose reads are of several kinds.
        namespace: The namespace read.
        filter: The filter as given, if any.
        options: Limit, sort, projection and the like that differ from their defaults; None for several reads at once.
        ids: The ids asked for, where the read names documents.
        batch_size: Operations this one call carries (count, at least 1).
        side: The process that reports it.
        attempt: In the actor, 1 for the first try of the call, 2 for its first retry, ...; the client announces all
            tries as one, and counts them in the result.
        actor: Name of the actor, where one is involved and known.
        traceparent: The caller's span (W3C), if it has one; in the actor that of the first operation.
        traceparents: In the actor, the span of every operation the call carries, first one first.
        operation_id: 16 hexadecimal digits, new for every context.
    """

    operation: str
    namespace: str
    filter: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None
    ids: tuple[str, ...] = ()
    batch_size: int = 1
    side: Side = "client"
    attempt: int = 1
    actor: str | None = None
    traceparent: str | None = None
    traceparents: Sequence[str] = ()
    operation_id: str = field(default_factory=new_operation_id)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """How a read ended.

    Attributes:
        duration_s: Seconds from start to end.
        rows: Documents returned, or counted by `count`.
        bytes: Bytes of data files read from storage for it.
        cached: Whether it was answered without touching storage.
        row_groups_scanned: Parquet row groups read (count).
        row_groups_skipped: Parquet row groups that need not be read (count).
        seq: Sequence number of the newest write the answer reflects.
        attempts: Times the call was sent (count, at least 1), in the client.
    """

    duration_s: float = 0.0
    rows: int | None = None
    bytes: int | None = None
    cached: bool | None = None
    row_groups_scanned: int | None = None
    row_groups_skipped: int | None = None
    seq: int | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class MutationContext:
    """A write that is about to run.

    Attributes:
        operation: `create`, `update`, `delete`, ...; in the actor `execute` for a call with writes of several kinds.
        namespace: The namespace written.
        ids: The documents named by the call; empty where the database chooses the id.
        filter: The filter of a write that selects its documents.
        options: `expected_version`, `upsert` and the like that differ from their defaults; None for several writes.
        batch_size: Operations this one call carries (count, at least 1).
        side: The process that reports it.
        attempt: In the actor, 1 for the first try of the call, 2 for its first retry, ...; the client announces all
            tries as one, and counts them in the result.
        actor: Name of the actor, where one is involved and known.
        traceparent: The caller's span (W3C), if it has one; in the actor that of the first operation.
        traceparents: In the actor, the span of every operation the call carries, first one first.
        operation_id: 16 hexadecimal digits, new for every context.
    """

    operation: str
    namespace: str
    ids: tuple[str, ...] = ()
    filter: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None
    batch_size: int = 1
    side: Side = "client"
    attempt: int = 1
    actor: str | None = None
    traceparent: str | None = None
    traceparents: Sequence[str] = ()
    operation_id: str = field(default_factory=new_operation_id)


@dataclass(frozen=True, slots=True)
class MutationResult:
    """How a write ended.

    Attributes:
        duration_s: Seconds from start to end; for a durable write its commit included.
        rows: Documents changed.
        bytes: Size of what the call brought, estimated as the owner does for its bounds.
        version: New version of the document, where the call changed exactly one.
        seq: Sequence number of the last event it wrote.
        errors: Operations of a batch that were refused (count), while the call itself succeeded.
        attempts: Times the call was sent (count, at least 1), in the client.
    """

    duration_s: float = 0.0
    rows: int | None = None
    bytes: int | None = None
    version: int | None = None
    seq: int | None = None
    errors: int | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class StorageContext:
    """One attempt of one call to the object store.

    Attributes:
        operation: `read`, `read_range`, `read_ranges`, `create`, `write`, `delete`, `list`, `list_folders` or `stat`.
        key: The object's key, the first one of several, or the prefix of a listing; without the backend's root.
        backend: `local`, `s3`, `memory`, ...
        namespace: The namespace it is for, where known.
        bytes: Bytes sent, for `create` and `write`.
        start: First byte asked for (inclusive), for `read_range`.
        length: Bytes asked for, for `read_range` and, in total, `read_ranges`.
        options: Anything else the call was given.
        side: The process that reports it.
        attempt: 1 for the first try, 2 for its first retry, ...
        actor: Name of the actor, where one is involved and known.
        traceparent: A span to hang this one under; normally None, because storage nests in the active span.
        operation_id: 16 hexadecimal digits, new for every context.
    """

    operation: str
    key: str
    backend: str = ""
    namespace: str | None = None
    bytes: int | None = None
    start: int | None = None
    length: int | None = None
    options: Mapping[str, Any] | None = None
    side: Side = "actor"
    attempt: int = 1
    actor: str | None = None
    traceparent: str | None = None
    operation_id: str = field(default_factory=new_operation_id)


@dataclass(frozen=True, slots=True)
class StorageResult:
    """How a storage call ended.

    Attributes:
        duration_s: Seconds from start to end of this attempt.
        bytes: Bytes received by a read or sent by a write.
        rows: Keys returned, for listings.
        cached: Whether a local cache answered; of reads of content only.
        etag: The store's tag of the object, where the reply had one.
    """

    duration_s: float = 0.0
    bytes: int | None = None
    rows: int | None = None
    cached: bool | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class CommitContext:
    """One log entry that is about to be created; a group of writes shares it.

    Attributes:
        namespace: The namespace whose log it is.
        epoch: Epoch of the owner that writes it.
        position: The position in the log it contends for.
        kind: `write`, `bulk` (a load), `checkpoint` or `close`; of `open` entries `on_cold_start` tells.
        writes: Events in the entry (count).
        bytes: Size of the encoded entry.
        traceparents: The spans of the operations that wait for it, first ones first; at most 128.
        actor: Name of the actor, where known.
        traceparent: The span of the call that brought the first of them.
        operation_id: 16 hexadecimal digits, new for every context.
    """

    namespace: str
    epoch: int = 0
    position: int = 0
    kind: str = "write"
    writes: int = 0
    bytes: int = 0
    traceparents: Sequence[str] = ()
    actor: str | None = None
    traceparent: str | None = None
    operation_id: str = field(default_factory=new_operation_id)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """How a commit ended: it landed.

    Attributes:
        duration_s: Seconds until the entry was durable, every attempt included.
        first_seq: Sequence number of the first event in it.
        last_seq: Sequence number of the last (inclusive).
        attempts: Times the entry was sent (count, at least 1).
    """

    duration_s: float = 0.0
    first_seq: int = 0
    last_seq: int = 0
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class FlushContext:
    """Documents in memory became a data file.

    Attributes:
        namespace: The namespace flushed.
        duration_s: Seconds until its checkpoint was durable.
        rows: Rows written.
        bytes: Bytes written.
        files: Data files written (count).
        reason: `rows`, `bytes`, `age`, `segments` or `request`.
        seq: Newest sequence number the files hold.
        traceparent: The span that asked for it, if one did.
    """

    namespace: str
    duration_s: float = 0.0
    rows: int = 0
    bytes: int = 0
    files: int = 0
    reason: str = ""
    seq: int | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class CompactionContext:
    """Several data files became fewer.

    Attributes:
        namespace: The namespace compacted.
        duration_s: Seconds until its checkpoint was durable.
        files_in: Data files read (count).
        files_out: Data files written (count).
        rows: Live rows carried over.
        rows_dropped: Dead rows left behind.
        bytes_in: Bytes read.
        bytes_out: Bytes written.
        traceparent: The span that asked for it, if one did.
    """

    namespace: str
    duration_s: float = 0.0
    files_in: int = 0
    files_out: int = 0
    rows: int = 0
    rows_dropped: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class ColdStartContext:
    """A namespace was opened by an actor that did not hold it.

    Attributes:
        namespace: The namespace opened.
        duration_s: Seconds from the first storage call until it could answer.
        epoch: The epoch it was opened with.
        entries: Log entries replayed (count).
        round_trips: Times that a storage call began while no other was under way (count).
        actor: Name of the actor, where known.
        traceparent: The span of the call that opened it, if one did.
    """

    namespace: str
    duration_s: float = 0.0
    epoch: int = 0
    entries: int = 0
    round_trips: int = 0
    actor: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """One of several times that an operation of the client was sent is over; of operations sent once nothing is told.

    Attributes:
        operation: As the operation is announced.
        namespace: Whom it was sent to.
        attempt: 1 for the first time, 2 for its first repeat, ...
        duration_s: Seconds from when it was to be sent until its answer, or its failure.
        error: Class of what it failed with; None where it went well.
        actor: Name of the actor, where one is involved and known.
    """

    operation: str
    namespace: str
    attempt: int
    duration_s: float = 0.0
    error: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class CircuitContext:
    """A circuit breaker changed its state.

    Attributes:
        circuit: Its name, such as `storage.read`.
        before: `closed`, `open` or `half_open`.
        after: `closed`, `open` or `half_open`.
        retry_after_s: Seconds until an open circuit lets a call through again.
        reason: What made it change, in words.
        namespace: The namespace whose owner it belongs to; None in a client.
    """

    circuit: str
    before: str
    after: str
    retry_after_s: float | None = None
    reason: str = ""
    namespace: str | None = None


def create_query_context(
    operation: str,
    namespace: str,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - the word users know from `find(filter)`
    **facts: Any,
) -> QueryContext:
    """Describe a read, with a new operation id; `facts` are fields of `QueryContext`."""
    return QueryContext(operation, namespace, filter, **facts)


def create_mutation_context(operation: str, namespace: str, *ids: str, **facts: Any) -> MutationContext:
    """Describe a write to the documents `ids`, with a new operation id; `facts` are fields of `MutationContext`."""
    return MutationContext(operation, namespace, ids, **facts)


def create_storage_context(operation: str, key: str, **facts: Any) -> StorageContext:
    """Describe a storage call, with a new operation id; `facts` are fields of `StorageContext`."""
    return StorageContext(operation, key, **facts)
