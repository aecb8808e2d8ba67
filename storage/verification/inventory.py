"""Everything that is stored of a namespace, by what its name says it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from parquedb.errors import CorruptionError
from parquedb.storage.backend import ObjectInfo, StorageBackend
from parquedb.storage.backends.strays import Stray, StrayKind, strays_of
from parquedb.storage.log.entry import UNFINISHED, position_of
from parquedb.storage.log.manifest import object_epoch, through_of
from parquedb.storage.verification.report import Findings
from parquedb.storage.verification.rules import Rule
from parquedb.storage.verification.source import Source

_PAGE: Final = 1000
_NAMES: Final = re.compile(
    r"manifest/[0-9]{20}-[0-9]+-[0-9a-f]+|data/[0-9]+-[0-9a-f]+\.parquet|(tail|history|dedupe)/[0-9]+-[0-9a-f]+"
)
UPLOAD_AGE_S: Final = 2 * 3600.0
"""An owner at work has given up an upload by this age."""


@dataclass(slots=True)
class Inventory:
    """A listing.

    Attributes:
        log: Positions of log entries, and when each was stored.
        objects: Everything else that we may have written, by key relative to the namespace.
        unknown: Objects whose names we never write.
        strays: What is no object of ours at all.
        bytes: Size of all objects.
        server_s: The store's clock from before the listing, Unix seconds.
    """

    log: dict[int, float] = field(default_factory=dict)
    objects: dict[str, ObjectInfo] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    strays: tuple[Stray, ...] = ()
    bytes: int = 0
    server_s: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing is stored."""
        return not (self.log or self.objects or self.unknown)

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.log) + len(self.objects) + len(self.unknown)

    def size(self, key: str) -> int:
        """Return the size of an object as listed, in bytes; 0 where it was not there yet."""
        info = self.objects.get(key)
        return 0 if info is None else info.size

    @property
    def manifests(self) -> list[str]:
        """Keys of manifests, the newest first."""
        return sorted(key for key in self.objects if key.startswith("manifest/"))

    @classmethod
    async def take(cls, source: Source) -> Inventory:
        """List everything below the namespace's prefix."""
        found = cls(strays=await strays_of(source.storage, source.prefix), server_s=float("inf"))
        after, more = None, True
        while more:
            page = await source.storage.list(source.prefix, after=after, limit=_PAGE)
            found.server_s = min(found.server_s, page.server_s)
            for info in page.objects:
                found._add(info.key.removeprefix(source.prefix), info)
            more = page.more and bool(page.objects)
            after = page.objects[-1].key if page.objects else None
        return found

    def _add(self, key: str, info: ObjectInfo) -> None:
        self.bytes += info.size
        if key.startswith("log/"):
            try:
                self.log[position_of(key)] = info.modified_s or 0.0
            except CorruptionError:
                self.unknown.append(key)
        elif _NAMES.fullmatch(key):
            self.objects[key] = info
        else:
            self.unknown.append(key)

    def report_names(self, prefix: str, findings: Findings) -> None:
        """Report what has a name that we never write."""
        for key in self.unknown:
            rule = Rule.LOG_NAME_FOREIGN if key.startswith("log/") else Rule.OBJECT_UNKNOWN
            message = "nothing writes such a name"
            if key == UNFINISHED:
                rule, message = Rule.RESTORE_UNFINISHED, "it is put there first, and taken away last"
            findings.add(rule, prefix + key, message)
        report_strays(self.strays, self.server_s, findings)

    def report_future(self, prefix: str, *, tail: int, epoch: int, findings: Findings) -> None:
        """Report what only entries above the tail can have made; the listing is older than the tail.

        Args:
            prefix: The namespace's.
            tail: Position of the last entry.
            epoch: Its epoch; where that is not known, the highest that there can be.
            findings: Where it goes.
        """
        ahead = [key for key in self.manifests if through_of(key) > tail]
        ahead += [key for key in self.objects if key not in ahead and object_epoch(key) > epoch]
        for key in ahead[:1]:
            message = f"the log ends at {tail} in epoch {epoch}; {len(ahead)} objects are newer, this one among them"
            findings.add(Rule.LOG_TAIL_LOST, prefix + key, message)


async def strays_at_root(storage: StorageBackend, findings: Findings) -> None:
    """Report what lies beside the namespaces and is none of our own."""
    page = await storage.list("~probe/", limit=1)
    report_strays(await strays_of(storage, ""), page.server_s, findings)


def report_strays(strays: tuple[Stray, ...], server_s: float, findings: Findings) -> None:
    """Report foreign names, temporary files and unfinished uploads."""
    rules = {
        StrayKind.FOREIGN: Rule.NAME_FOREIGN,
        StrayKind.TEMPORARY: Rule.TEMPORARY_FILE,
        StrayKind.UPLOAD: Rule.UPLOAD_UNFINISHED,
    }
    for stray in strays:
        age_s = max(0.0, server_s - stray.modified_s)
        severity = None
        if stray.kind is not StrayKind.FOREIGN and age_s > UPLOAD_AGE_S:
            severity = rules[StrayKind.FOREIGN].severity
        findings.add(rules[stray.kind], stray.name, f"{stray.size} bytes, {age_s:.0f} s old", severity)
