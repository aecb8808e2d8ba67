"""Log entries and chains made by hand, for scripted schedules."""

import random

from parquedb.clock import ManualClock
from parquedb.documents.codec import encode
from parquedb.storage.backend import StorageBackend
from parquedb.storage.log.entry import GENESIS, BackPointer, Header, Kind, LogEntry, encode_entry, entry_key
from parquedb.storage.log.events import Event, encode_body
from parquedb.storage.log.opening import Opener
from tests.support.engines import NAMESPACE, settings

PREFIX = f"{NAMESPACE}/"
INCARNATION = b"i" * 16
LEASES = {"read_lease_s": 0.2, "log_grace_s": 120.0}


def commit_id(name: str) -> bytes:
    return name.encode().ljust(16, b"-")


def entry(  # noqa: PLR0913 - each is a fact of a header that some test wants otherwise
    position: int,
    *,
    name: str | None = None,
    previous: str | None = None,
    kind: Kind = Kind.WRITE,
    epoch: int = 1,
    seq: int = 1,
    base: BackPointer | None = None,
    events: tuple[Event, ...] = (),
    incarnation: bytes = INCARNATION,
) -> LogEntry:
    """Return entry n, called `c<n>` and following `c<n-1>` unless said otherwise."""
    before = GENESIS if position == 1 else commit_id(previous or f"c{position - 1}")
    body = encode(LEASES) if kind is Kind.OPEN else encode_body(list(events), []) if kind is Kind.WRITE else b""
    header = Header(
        incarnation,
        position,
        commit_id(name or f"c{position}"),
        before,
        position if kind is Kind.OPEN else epoch,
        kind,
        seq,
        len(events),
        1_000_000 + position,
        base,
    )
    return LogEntry(header, body)


async def put(storage: StorageBackend, made: LogEntry) -> bytes:
    data = encode_entry(made)
    await storage.create(PREFIX + entry_key(made.header.position), data)
    return data


async def chain(storage: StorageBackend, length: int) -> None:
    """Store an `open` and then writes of one event each."""
    await put(storage, entry(1, kind=Kind.OPEN))
    for position in range(2, length + 1):
        event = Event("c", f"d{position}", {"$id": f"posts/d{position}", "version": 1})
        await put(storage, entry(position, seq=position - 1, events=(event,)))


def opener(storage: StorageBackend, clock: ManualClock | None = None, seed: int = 1, **changes: object) -> Opener:
    return Opener(
        storage, NAMESPACE, PREFIX, settings(**changes), clock=clock or ManualClock(), rng=random.Random(seed)
    )
