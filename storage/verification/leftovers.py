"""What the current state does not refer to: how long that has been so, and whether somebody should have removed it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from parquedb.errors import CorruptionError
from parquedb.settings import EngineSettings
from parquedb.storage.log.entry import Kind, entry_key
from parquedb.storage.log.manifest import decode_manifest, object_epoch, through_of
from parquedb.storage.verification.inventory import Inventory
from parquedb.storage.verification.look import Look
from parquedb.storage.verification.report import Findings
from parquedb.storage.verification.rules import Rule, Severity
from parquedb.storage.verification.source import Source

MANIFESTS_MAX: Final = 256
"""Manifests read to learn what was superseded when; where there are more, nothing is called overdue."""

_ROUNDS: Final = 4
_SLACK_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Looks for them.

    An owner collects what has been superseded for longer than the grace. Whether one was there is seen from the log: it
    was at work from its `open` to the last entry. What nobody had the time to collect is as it should be.

    Args:
        source: Reads manifests.
        inventory: What is stored.
        look: The current state.
        referred: Keys that it refers to, its manifest included.
        settings: The graces, and how often is collected.
    """

    source: Source
    inventory: Inventory
    look: Look
    referred: frozenset[str]
    settings: EngineSettings

    async def report(self, findings: Findings) -> None:
        """Report each of them."""
        if self.look.base is None:
            return  # Before the first checkpoint nothing is ever collected, and little can be left over.
        self._report_log(findings)
        left = [key for key in self.inventory.objects if key not in self.referred]
        kept_s = self._active_until_s() - self._slack_s() - self.settings.snapshot_grace_s
        needed = await self._needed_since(kept_s)
        for key in sorted(left):
            info = self.inventory.objects[key]
            age_s = max(0.0, self.inventory.server_s - (info.modified_s or self.inventory.server_s))
            overdue = (
                needed is not None
                and key not in needed
                and (info.modified_s or 0.0) < kept_s
                and object_epoch(key) < self._epoch()
            )
            message = f"{info.size} bytes, {age_s:.0f} s old"
            if overdue:
                message += ", superseded for longer than an owner keeps such things"
            severity = Severity.WARNING if overdue else None
            findings.add(Rule.OBJECT_LEFT, self.source.prefix + key, message, severity)

    def _report_log(self, findings: Findings) -> None:
        base = self.look.base
        if base is None:
            return
        old = self._landed_before(self._active_until_s() - self._slack_s() - self._log_grace_s())
        overdue = 0 if old is None else through_of(old)
        fences = set(self._fences())
        for position in sorted(self.inventory.log):
            if position <= base.through and position not in fences:
                message = f"position {position}, folded by the checkpoint at {base.position} or before"
                severity = Severity.WARNING if position <= overdue else None
                findings.add(Rule.LOG_ENTRY_LEFT, self.source.prefix + entry_key(position), message, severity)

    async def _needed_since(self, moment_s: float) -> frozenset[str] | None:
        """Return what any state from a moment on referred to; None where that cannot be told."""
        old = self._landed_before(moment_s)
        if old is None:
            return None
        through = through_of(old)
        keys = [key for key in self.inventory.manifests if through_of(key) >= through]
        if len(keys) > MANIFESTS_MAX:
            return None
        return frozenset(keys).union(*await asyncio.gather(*map(self._objects, keys)))

    def _landed_before(self, moment_s: float) -> str | None:
        """Return the newest manifest that was stored before a moment and became real; None where none is known."""
        manifest, base, stored = self.look.manifest, self.look.base, self.inventory.objects
        if manifest is None or base is None:
            return None
        # A checkpoint lands within seconds of its manifest, for which the slack leaves room.
        landed = [*(key for key, _ in manifest.past), base.manifest]
        old = [key for key in landed if key in stored and (stored[key].modified_s or 0.0) < moment_s]
        return old[-1] if old else None

    async def _objects(self, key: str) -> frozenset[str]:
        data = await self.source.read(key)
        try:
            return frozenset() if data is None else decode_manifest(key, data).objects
        except CorruptionError:
            return frozenset()

    def _active_until_s(self) -> float:
        return self.inventory.log.get(self.look.tail, 0.0)

    def _slack_s(self) -> float:
        """Return how long an owner may take to find out what is due; more where it has only just opened."""
        opened_s = self.inventory.log.get(self._epoch(), float("inf"))
        slack_s = _ROUNDS * self.settings.collect_interval_s + _SLACK_S
        return slack_s if self._active_until_s() - opened_s > slack_s else float("inf")

    def _log_grace_s(self) -> float:
        return self.look.log_grace_s or self.settings.log_grace_s

    def _epoch(self) -> int:
        if self.look.entries:
            return self.look.entries[-1].header.epoch
        return 0 if self.look.manifest is None else self.look.manifest.epoch

    def _fences(self) -> tuple[int, ...]:
        folded = () if self.look.manifest is None else self.look.manifest.fences
        return folded + tuple(e.header.position for e in self.look.entries if e.header.kind == Kind.OPEN)
