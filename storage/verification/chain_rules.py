"""Whether log entries, given in order, follow each other and hold what their headers say (rules 2 to 6)."""

from __future__ import annotations

from typing import Final

from parquedb.documents.codec import decode
from parquedb.errors import CorruptionError
from parquedb.storage.bulk.load_entry import decode_bulk
from parquedb.storage.log.entry import GENESIS, BackPointer, Kind, LogEntry, entry_key
from parquedb.storage.log.events import decode_body
from parquedb.storage.log.manifest import Manifest, through_of
from parquedb.storage.verification.report import Findings
from parquedb.storage.verification.rules import Rule

_LEASES: Final = frozenset({"read_lease_s", "log_grace_s"})
_BODILESS: Final = frozenset({Kind.CHECKPOINT, Kind.CLOSE, Kind.DROP})


class ChainRules:
    """What the next entry has to be. After a fault it expects what the entry itself promises, to blame no neighbour.

    Args:
        prefix: The namespace's, for the names in findings.
        namespace: Its name.
        base: The newest checkpoint; the entries begin above its `through`.
        manifest: Its manifest; None where it cannot be read: then the first entry may follow anything.
        findings: Where faults go.
    """

    def __init__(
        self, prefix: str, namespace: str, base: BackPointer | None, manifest: Manifest | None, findings: Findings
    ) -> None:
        self._prefix = prefix
        self._namespace = namespace
        self._findings = findings
        self._newest = base
        self._base: BackPointer | None = None
        self._base_known = base is None
        self._incarnation: bytes | None = None
        self._previous: bytes | None = GENESIS if base is None else None
        self._epoch: int | None = 0 if base is None else None
        self._seq: int | None = 1 if base is None else None
        self._time_us = 0
        self._requests: set[tuple[bytes, int] | str] = set()
        self.next_seq = 1
        if manifest is not None:
            self._incarnation, self._previous = manifest.incarnation, manifest.through_id
            self._epoch, self._seq, self.next_seq = manifest.epoch, manifest.next_seq, manifest.next_seq
            self._time_us = manifest.log_time_us

    def lose_track(self) -> None:
        """Expect nothing of the next entry: the one before it is unknown."""
        self._previous = self._seq = self._epoch = None
        self._base_known = False

    def follow(self, position: int, entry: LogEntry) -> bool:
        """Check the entry found at a position; return whether it belongs there."""
        header, key = entry.header, self._prefix + entry_key(position)
        if header.position != position:
            self._findings.add(Rule.LOG_ENTRY_MISPLACED, key, f"it is entry {header.position}, not {position}")
            return False
        if self._incarnation is not None and header.incarnation != self._incarnation:
            expected, actual = self._incarnation.hex(), header.incarnation.hex()
            self._findings.add(Rule.LOG_INCARNATION_FOREIGN, key, f"expected {expected}, found {actual}")
        self._incarnation = self._incarnation or header.incarnation
        if self._previous is not None and header.previous != self._previous:
            expected, actual = self._previous.hex(), header.previous.hex()
            message = f"expected the predecessor {expected}, found {actual}"
            self._findings.add(Rule.LOG_CHAIN_BROKEN, key, message)
        self._check_epoch(key, entry)
        if self._seq is not None and header.first_seq != self._seq:
            message = f"expected first seq {self._seq}, found {header.first_seq}"
            self._findings.add(Rule.LOG_SEQ_WRONG, key, message)
            self._seq = None  # Either of the two may be the right one.
        else:
            self._seq = entry.next_seq
        if header.log_time_us < self._time_us:
            message = f"{header.log_time_us} µs after {self._time_us} µs"
            self._findings.add(Rule.LOG_TIME_BACKWARD, key, message)
        self._check_base(key, entry)
        self._check_body(key, entry)
        self._previous, self.next_seq = header.commit_id, entry.next_seq
        self._time_us = max(self._time_us, header.log_time_us)
        return True

    def _check_epoch(self, key: str, entry: LogEntry) -> None:
        header = entry.header
        expected = header.position if header.kind == Kind.OPEN else self._epoch
        if expected is not None and header.epoch != expected:
            self._findings.add(Rule.LOG_EPOCH_WRONG, key, f"expected {expected}, found {header.epoch}")
        self._epoch = header.epoch if expected is None else expected

    def _check_base(self, key: str, entry: LogEntry) -> None:
        """Check the back pointer: a checkpoint names itself, every other entry what the one before it named."""
        header = entry.header
        base, fault = header.base, None
        if header.kind == Kind.CHECKPOINT:
            if base is None or base.position != header.position or not base.through < header.position:
                fault = f"checkpoint {header.position} names {base}"
            elif _through(base) != base.through:
                fault = f"folds to {base.through}, its manifest {base.manifest!r} to {_through(base)}"
        elif self._base_known and base != self._base:
            fault = f"expected {self._base}, found {base}"
        elif base is not None and base.position >= header.position:
            fault = f"entry {header.position} names the later checkpoint {base.position}"
        if fault is not None:
            self._findings.add(Rule.LOG_BASE_WRONG, key, fault)
            base = self._newest if not self._base_known else self._base
        self._base, self._base_known = base, True

    def _check_body(self, key: str, entry: LogEntry) -> None:
        header = entry.header
        try:
            if header.kind == Kind.WRITE:
                fault = self._events_fault(key, entry)
            elif header.kind == Kind.BULK:
                rows = decode_bulk(key, entry.body).rows
                fault = None if rows == header.count else f"{rows} rows instead of {header.count}"
            elif header.kind == Kind.OPEN:
                leases = decode(entry.body)
                plausible = isinstance(leases, dict) and leases.keys() >= _LEASES
                fault = None if plausible and not header.count else f"leases {leases!r}"
            elif header.kind in _BODILESS:
                fault = None if not header.count else f"{header.count} events in an entry that can have none"
            else:
                fault = f"unknown kind {header.kind!r}"
        except CorruptionError as error:
            fault = str(error.reason or error.message)
        if fault is not None:
            self._findings.add(Rule.LOG_BODY_WRONG, key, fault)

    def _events_fault(self, key: str, entry: LogEntry) -> str | None:
        events, records = decode_body(key, entry.body)
        for record in records:
            if record.request is None:
                continue
            request = record.request
            asked = request if isinstance(request, str) else (request[0], request[1])
            if asked in self._requests:
                self._findings.add(Rule.LOG_REQUEST_TWICE, key, f"request {asked!r}")
            self._requests.add(asked)
        if len(events) != entry.header.count:
            return f"{len(events)} events instead of {entry.header.count}"
        return None


def _through(base: BackPointer) -> int | None:
    try:
        return through_of(base.manifest)
    except CorruptionError:
        return None
