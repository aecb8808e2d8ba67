"""Verifying a namespace: everything that is stored of it is looked at, nothing is changed, no owner is needed or asked.

An owner may be at work meanwhile. What is reported is the state as of one log entry; where an object of it vanishes
because a later state does without it, the look begins again from there. Objects never change, so none is read twice.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pyroaring import BitMap

from parquedb.clock import Clock
from parquedb.errors import CollectionNotFoundError, CorruptionError
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.settings import EngineSettings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.files import deletions
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.object_cache import Run
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.entry import Kind, decode_entry, entry_key
from parquedb.storage.verification.identities import Identities
from parquedb.storage.verification.inventory import Inventory
from parquedb.storage.verification.ledger import Anomaly, Ledger, Live
from parquedb.storage.verification.leftovers import Leftovers
from parquedb.storage.verification.look import Look, Looker
from parquedb.storage.verification.manifest_rules import ManifestRules
from parquedb.storage.verification.objects import Objects
from parquedb.storage.verification.report import Counts, Findings, Level, VerificationReport
from parquedb.storage.verification.rules import Rule
from parquedb.storage.verification.segment_rules import SegmentContent, events_of
from parquedb.storage.verification.source import Source
from parquedb.storage.verification.spill import Spill
from parquedb.storage.verification.state import State
from parquedb.storage.verification.traces import Trace

REBASES_MAX: Final = 50
_FENCES_AT_ONCE: Final = 16
_UNCOMPARABLE: Final = frozenset(
    {
        Rule.SEGMENT_GAP,
        Rule.HISTORY_FILE_LOST,
        Rule.DELETIONS_UNREADABLE,
        Rule.DELETIONS_STRAY,
        Rule.DATA_FILE_LISTED_TWICE,
        Rule.DATA_FILE_SEQS,
    }
)
"""Where one of these is broken, comparing documents would only repeat it for each of them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a verification has come.

    Attributes:
        namespace: Which one.
        bytes_done: Of its data files and segments.
        bytes_total: As of the state that is looked at.
    """

    namespace: str
    bytes_done: int
    bytes_total: int


class _Moved(Exception):  # noqa: N818 - control flow inside `verify`, never seen outside
    """The state that is being looked at has been superseded, and an object of it collected."""


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run CPU work in a thread."""
    return await asyncio.to_thread(work)


class Verifier:
    """Verifies one namespace, once.

    Args:
        storage: Where it is.
        namespace: Its name.
        settings: How long superseded things are kept.
        clock: Measures, and waits.
        level: How closely to look.
        run: Runs CPU work off the event loop.
        progress: Told how far it is.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        storage: StorageBackend,
        namespace: str,
        settings: EngineSettings,
        *,
        clock: Clock,
        level: Level = Level.FULL,
        run: Run = in_thread,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._namespace = namespace
        self._settings = settings
        self._clock = clock
        self._level = level
        self._run = run
        self._progress = progress
        self._source = Source(storage, namespace_prefix(namespace))
        self._looker = Looker(self._source, namespace, clock, settings.log_grace_s)
        self._spill = Spill()
        self._seed = secrets.randbits(64)
        self._bytes_done = self._bytes_total = 0
        self._objects = Objects(
            self._source,
            namespace,
            level,
            run=run,
            seed=self._seed,
            spill=self._spill,
            missing=self._is_missing,
            done=self._count,
        )

    async def verify(self) -> VerificationReport:
        """Look at everything and say what is wrong with it.

        Raises:
            CollectionNotFoundError: nothing is stored under this name.
            TimeoutError: the namespace kept changing faster than it can be looked at.
            ParqueDBError: storage refused, or did not answer.
        """
        started_s = self._clock.boot_s()
        try:
            for _ in range(REBASES_MAX):
                inventory = await Inventory.take(self._source)
                if inventory.empty:
                    raise CollectionNotFoundError(namespace=self._namespace)
                look = await self._looker.look()
                try:
                    return await self._report(inventory, look, started_s)
                except _Moved:
                    continue
        finally:
            self._spill.close()
        raise NoAnswerError(f"namespace {self._namespace!r} changes faster than it can be looked at")

    async def _report(self, inventory: Inventory, look: Look | None, started_s: float) -> VerificationReport:
        findings, counts = Findings(), Counts(inventory.count, inventory.bytes)
        prefix = self._source.prefix
        inventory.report_names(prefix, findings)
        first_seq = None
        if look is None:
            findings.add(Rule.LOG_ENTRY_MISSING, f"{prefix}log/", "there is none at all")
            look = Look(0, None, None, (), 1)
        else:
            findings.extend(look.findings)
            first_seq = await self._check_state(inventory, look, counts, findings)
        counts.bytes_read = self._source.bytes_read
        return VerificationReport(
            namespace=self._namespace,
            level=self._level,
            findings=findings.kept,
            counts=counts,
            tail=look.tail,
            seq=look.next_seq - 1,
            history_from=first_seq,
            unnamed=findings.unnamed,
            duration_s=self._clock.boot_s() - started_s,
        )

    async def _check_state(self, inventory: Inventory, look: Look, counts: Counts, findings: Findings) -> int | None:
        state, manifest = State.of(look), look.manifest
        counts.log_entries, counts.data_files = len(look.entries), len(state.files)
        counts.rows = sum(file.rows for file in state.files.values())
        self._bytes_done = 0
        self._bytes_total = sum(inventory.size(key) for key in state.referred)
        if await self._source.stat(entry_key(look.tail + 1)) is None:
            epoch = state.epoch if look.whole else look.tail
            inventory.report_future(self._source.prefix, tail=look.tail, epoch=epoch, findings=findings)
        if manifest is not None and look.base is not None:
            ManifestRules(manifest, look.base, self._namespace, self._source.prefix, findings).run()
            await self._check_fences(state, manifest.incarnation, findings)
        segments = await self._objects.segments(state.segments, inventory, findings)
        await self._objects.request_ids(state.request_ids, inventory, look.next_seq, findings)
        files = await self._objects.files([*state.files.values(), *state.past.values()], inventory, findings)
        first_seq = None
        if self._level is Level.FULL and look.whole and not findings.any_of(_UNCOMPARABLE):
            first_seq = await self._compare(look, state, segments, files, counts, findings)
        if look.base is None or manifest is not None:
            leftovers = Leftovers(self._source, inventory, look, state.referred, self._settings)
            await leftovers.report(findings)
        return first_seq

    async def _check_fences(self, state: State, incarnation: bytes, findings: Findings) -> None:
        for start in range(0, len(state.fences), _FENCES_AT_ONCE):
            positions = state.fences[start : start + _FENCES_AT_ONCE]
            found = await asyncio.gather(*(self._source.read(entry_key(position)) for position in positions))
            for position, data in zip(positions, found, strict=True):
                key = self._source.prefix + entry_key(position)
                if data is None:
                    findings.add(Rule.FENCE_MISSING, key, f"position {position}; the manifest lists it")
                    continue
                try:
                    header = decode_entry(key, data).header
                except CorruptionError as error:
                    findings.add(Rule.FENCE_DAMAGED, key, f"position {position}: {error.reason}")
                    continue
                expected = (position, position, Kind.OPEN, incarnation)
                actual = (header.position, header.epoch, header.kind, header.incarnation)
                if actual != expected:
                    message = f"position {position} holds entry {header.position}, {header.kind!r}"
                    findings.add(Rule.FENCE_DAMAGED, key, message)

    async def _compare(  # noqa: PLR0913, PLR0917 - everything there is to compare
        self,
        look: Look,
        state: State,
        segments: dict[str, SegmentContent],
        files: dict[str, Trace],
        counts: Counts,
        findings: Findings,
    ) -> int | None:
        """Hold documents against events, where all that says something of them could be read."""
        if (
            segments.keys() != {one.key for one in state.segments}
            or files.keys() != state.files.keys() | state.past.keys()
        ):
            return None
        told = [segments[one.key] for one in state.segments]
        if look.entries:
            work = lambda: events_of(look.entries, self._namespace, self._seed, self._source.prefix, self._spill)  # noqa: E731 - run in a thread
            try:
                told.append(await self._run(work))
            except CorruptionError as error:
                findings.add(Rule.LOG_BODY_WRONG, str(error.key), str(error.reason))
                return None
        manifest = look.manifest
        folded = 1 if manifest is None else manifest.next_seq
        ledger = Ledger(
            rows=[Live(files[key], self._dead(look, file)) for key, file in state.files.items()],
            written=[content.trace for content in told],
            loaded=[files[file.key] for content in told for file in content.files if file.key in files],
            first_seq=told[0].first_seq if told else None,
            memory_from=segments[state.tails[0].key].first_seq if state.tails else folded,
        )
        every_segment = {one.key: one for one in state.segments}
        identities = Identities(self._source, {**state.past, **state.files}, every_segment, look.entries, self._run)
        for low, high in ledger.shares():
            anomalies: list[Anomaly] = await self._run(lambda low=low, high=high: ledger.check(low, high))  # type: ignore[misc]
            for anomaly in anomalies:
                await self._name(anomaly, identities, findings)
        counts.documents, counts.events = ledger.documents, ledger.events
        return ledger.first_seq

    def _dead(self, look: Look, file: DataFile) -> BitMap:
        vector = None if look.manifest is None else look.manifest.dead.get(file.key)
        return BitMap() if vector is None else deletions.decode(vector, key=file.key, rows=file.rows)

    async def _name(self, anomaly: Anomaly, identities: Identities, findings: Findings) -> None:
        """Report an anomaly with the id it is about, unless only the hashes of two ids were equal."""
        ids = []
        if anomaly.row is not None:
            ids.append(await identities.of_row(anomaly.row))
        if anomaly.other is not None:
            ids.append(await identities.of_row(anomaly.other))
        if anomaly.event is not None:
            ids.append(await identities.of_event(anomaly.event))
        known = {id_ for id_ in ids if id_ is not None}
        if len(known) > 1:
            return
        id_ = next(iter(known), None)
        if anomaly.row is not None:
            key, row = anomaly.row.file, f"row {anomaly.row.row}, "
        else:
            key, row = "" if anomaly.event is None else identities.object_of(anomaly.event), ""
        message = f"{row}id {id_!r}: {anomaly.message}"
        findings.add(anomaly.rule, self._source.prefix + key, message, times=anomaly.times)

    async def _is_missing(self, key: str) -> bool:
        """Whether an object that is not there should be: the state may have moved on without it."""
        look = await self._looker.look()
        if look is not None and key in State.of(look).referred and await self._source.stat(key) is None:
            return True
        raise _Moved

    def _count(self, size: int) -> None:
        self._bytes_done += size
        if self._progress is not None:
            self._progress(Progress(self._namespace, min(self._bytes_done, self._bytes_total), self._bytes_total))
