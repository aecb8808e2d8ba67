"""The log and the manifest as a bystander sees them: every broken rule, instead of the first one.

An owner may append, fold and collect meanwhile, so one look proves no damage: an entry may have been collected between
the listing and the read. What two looks in a row agree on is damage, for what is above the newest checkpoint is never
collected, and once a newer one is there the second look does not ask for it (rules 7 and 18 of `docs/protocol.md`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from parquedb.clock import Clock
from parquedb.documents.codec import decode
from parquedb.errors import CorruptionError
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.storage.log.entry import BackPointer, Kind, LogEntry, decode_entry, entry_key, position_of
from parquedb.storage.log.manifest import Manifest, checksum, decode_manifest, through_of
from parquedb.storage.verification.chain_rules import ChainRules
from parquedb.storage.verification.report import Finding, Findings
from parquedb.storage.verification.rules import Rule
from parquedb.storage.verification.source import Source

LOOKS_MAX: Final = 50
_READS_AT_ONCE: Final = 16
_PAGE: Final = 1000
_TAIL_TRIES: Final = 8
_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Look:
    """What a namespace was at one moment.

    Attributes:
        tail: Position of the newest entry.
        base: The newest checkpoint; None before the first.
        manifest: Its manifest; None also when it cannot be read.
        entries: Those above `base.through` that can be read and are in their place, ascending.
        next_seq: What the next event gets, as far as can be told.
        findings: What is wrong.
    """

    tail: int
    base: BackPointer | None
    manifest: Manifest | None
    entries: tuple[LogEntry, ...]
    next_seq: int
    findings: tuple[Finding, ...] = ()

    @property
    def log_grace_s(self) -> float | None:
        """How long the last owner keeps superseded log entries, in seconds; None where nobody says so."""
        leases: Any = None if self.manifest is None else self.manifest.leases
        for entry in self.entries:
            if entry.header.kind == Kind.OPEN:
                with suppress(CorruptionError):  # The rules about entries report it.
                    leases = decode(entry.body)
        try:
            return float(leases["log_grace_s"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def whole(self) -> bool:
        """Whether the state of the namespace is known: documents can be judged."""
        return not self.findings and (self.base is None or self.manifest is not None)


class Looker:
    """Looks at the log of one namespace.

    Args:
        source: Reads.
        namespace: Its name.
        clock: Tells how long a look took.
        log_grace_s: For namespaces whose owner has not said its own.
    """

    def __init__(self, source: Source, namespace: str, clock: Clock, log_grace_s: float) -> None:
        self._source = source
        self._namespace = namespace
        self._clock = clock
        self._log_grace_s = log_grace_s

    async def look(self) -> Look | None:
        """Return a look of which every finding is certain; None where no log is stored.

        Raises:
            TimeoutError: the namespace kept changing, or storage is too slow to be sure of anything.
        """
        before: set[tuple[str, str]] | None = None
        for _ in range(LOOKS_MAX):
            started_s = self._clock.boot_s()
            look = await self._once()
            if look is None or not look.findings:
                grace_s = self._log_grace_s if look is None else look.log_grace_s or self._log_grace_s
                if self._clock.boot_s() - started_s < grace_s / 2:
                    return look
                continue
            seen = {(finding.code, finding.key) for finding in look.findings}
            if before is not None and seen <= before:
                return look
            before = seen
            await self._clock.sleep(_PAUSE_S)
        message = f"could not look at namespace {self._namespace!r}: it kept changing, or storage is too slow"
        raise NoAnswerError(message)

    async def _once(self) -> Look | None:
        tail = await self._tail()
        if tail is None:
            return None
        findings = Findings()
        newest, unread = await self._newest(tail)
        base = None if newest is None else newest.header.base
        manifest = None if base is None else await self._manifest(base, findings)
        floor = 0 if base is None else base.through
        rules = ChainRules(self._source.prefix, self._namespace, base, manifest, findings)
        entries: list[LogEntry] = []
        last = max(tail, newest.header.position if newest is not None else 0)
        first = floor + 1 if newest is not None else min(unread)
        for start in range(first, last + 1, _READS_AT_ONCE):
            positions = range(start, min(start + _READS_AT_ONCE, last + 1))
            for position, data in zip(positions, await asyncio.gather(*map(self._entry_bytes, positions)), strict=True):
                entry = self._decoded(position, data, findings)
                if entry is None or not rules.follow(position, entry):
                    rules.lose_track()
                    continue
                entries.append(entry)
        return Look(last, base, manifest, tuple(entries), rules.next_seq, findings.kept)

    async def _tail(self) -> int | None:
        """Return the newest position listed; None when there is none."""
        after = None
        while True:
            page = await self._source.storage.list(self._source.prefix + "log/", after=after, limit=_PAGE)
            for info in page.objects:
                try:
                    return position_of(info.key)
                except CorruptionError:
                    continue  # A foreign name; the inventory reports it.
            if not page.more or not page.objects:
                return None
            after = page.objects[-1].key

    async def _newest(self, tail: int) -> tuple[LogEntry | None, set[int]]:
        """Return the newest entry that can be read, to know the base from, and positions that cannot be."""
        unread: set[int] = set()
        for position in range(tail, max(0, tail - _TAIL_TRIES), -1):
            data = await self._entry_bytes(position)
            try:
                entry = None if data is None else decode_entry(self._source.prefix + entry_key(position), data)
            except CorruptionError:
                entry = None
            if entry is not None and entry.header.position == position:
                return entry, unread
            unread.add(position)
        return None, unread

    async def _entry_bytes(self, position: int) -> bytes | None:
        return await self._source.read(entry_key(position))

    def _decoded(self, position: int, data: bytes | None, findings: Findings) -> LogEntry | None:
        key = self._source.prefix + entry_key(position)
        if data is None:
            findings.add(Rule.LOG_ENTRY_MISSING, key, f"position {position}")
            return None
        try:
            return decode_entry(key, data)
        except CorruptionError as error:
            findings.add(Rule.LOG_ENTRY_DAMAGED, key, f"position {position}: {error.reason}")
            return None

    async def _manifest(self, base: BackPointer, findings: Findings) -> Manifest | None:
        key = self._source.prefix + base.manifest
        data = await self._source.read(base.manifest)
        if data is None:
            findings.add(Rule.MANIFEST_MISSING, key, f"the checkpoint at {base.position} names it")
            return None
        try:
            manifest = decode_manifest(key, data)
        except CorruptionError as error:
            findings.add(Rule.MANIFEST_DAMAGED, key, f"{error.reason}")
            return None
        if checksum(data) != base.checksum:
            expected = f"checksum {base.checksum:016x}"
            findings.add(Rule.MANIFEST_OTHER, key, f"expected {expected}, found {checksum(data):016x}")
            return None
        if manifest.through != base.through or through_of(key) != base.through:
            message = f"folds entries to {manifest.through}, the checkpoint at {base.position} says {base.through}"
            findings.add(Rule.MANIFEST_DISAGREES, key, message)
            return None
        return manifest
