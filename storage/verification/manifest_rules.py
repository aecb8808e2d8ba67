"""Whether a manifest is plausible in itself, and what it says of segments and files fits together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from parquedb.errors import CorruptionError
from parquedb.schemas.registered import Registered
from parquedb.storage.files import deletions
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.log.entry import BackPointer
from parquedb.storage.log.manifest import HistorySegment, Manifest
from parquedb.storage.verification.report import Findings
from parquedb.storage.verification.rules import Rule


class ManifestRules:
    """Rules about one manifest that need nothing else.

    Args:
        manifest: It.
        base: The checkpoint that names it.
        namespace: Whose it is.
        prefix: The namespace's, for names in findings.
        findings: Where faults go.
    """

    def __init__(self, manifest: Manifest, base: BackPointer, namespace: str, prefix: str, findings: Findings) -> None:
        self._manifest = manifest
        self._namespace = namespace
        self._prefix = prefix
        self._key = prefix + base.manifest
        self._findings = findings

    def run(self) -> None:
        """Check everything."""
        manifest = self._manifest
        if manifest.namespace != self._namespace:
            self._add(Rule.MANIFEST_DISAGREES, f"it is of the namespace {manifest.namespace!r}")
        self._check_fences()
        self._check_parts()
        self._check_sessions()
        self._check_files()
        self._check_coverage()

    def _add(self, rule: Rule, message: str) -> None:
        self._findings.add(rule, self._key, message)

    def _check_fences(self) -> None:
        fences, through, epoch = self._manifest.fences, self._manifest.through, self._manifest.epoch
        ascending = all(one < other for one, other in pairwise(fences))
        if not ascending or (fences and not 1 <= fences[0] <= fences[-1] <= through):
            self._add(Rule.MANIFEST_FENCES_WRONG, f"{list(fences[:20])} up to entry {through}")
        elif epoch <= through and (not fences or fences[-1] != epoch):
            self._add(Rule.MANIFEST_FENCES_WRONG, f"epoch {epoch} is not the last of {list(fences[-20:])}")

    def _check_parts(self) -> None:
        manifest = self._manifest
        try:
            ColumnRegistry.from_wire(manifest.registry)
            if manifest.schemas is not None:
                Registered.from_wire(manifest.schemas)
            float(manifest.leases["read_lease_s"])
            float(manifest.leases["log_grace_s"])
        except (AttributeError, KeyError, TypeError, ValueError, CorruptionError) as error:
            self._add(Rule.MANIFEST_PART_UNREADABLE, f"{type(error).__name__}: {error}")

    def _check_sessions(self) -> None:
        try:
            fault = _sessions_fault(self._manifest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            fault = f"unreadable: {type(error).__name__}: {error}"
        if fault is not None:
            self._add(Rule.SESSIONS_WRONG, fault)

    def _check_files(self) -> None:
        keys = [wire["key"] for wire in self._manifest.files]
        for key in sorted({key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()):
            self._findings.add(Rule.DATA_FILE_LISTED_TWICE, self._prefix + key, f"{keys.count(key)} times")
        files = {wire["key"]: DataFile.from_wire(wire) for wire in self._manifest.files}
        for key, vector in self._manifest.dead.items():
            name = self._prefix + key
            if key not in files:
                self._findings.add(Rule.DELETIONS_STRAY, name, "nothing else tells of that file")
                continue
            try:
                deletions.decode(vector, key=name, rows=files[key].rows)
            except CorruptionError as error:
                self._findings.add(Rule.DELETIONS_UNREADABLE, name, str(error.reason))
        for file in files.values():
            if file.seq_last >= self._manifest.next_seq:
                message = f"seqs to {file.seq_last}, though the manifest ends before {self._manifest.next_seq}"
                self._findings.add(Rule.DATA_FILE_SEQS, self._prefix + file.key, message)

    def _check_coverage(self) -> None:
        """Check that segments hold every seq from the first one kept on, once."""
        manifest = self._manifest
        tails = [one for one in manifest.tails if isinstance(one, HistorySegment)]
        if len(tails) < len(manifest.tails):
            return  # From before segments said what they hold.
        segments = [*manifest.history.segments, *tails]
        for one, other in pairwise(segments):
            if one.next_seq != other.first_seq:
                message = f"begins with seq {other.first_seq}, the one before it ends at {one.next_seq - 1}"
                self._findings.add(Rule.SEGMENT_GAP, self._prefix + other.key, message)
        if segments and segments[-1].next_seq != manifest.next_seq:
            message = f"ends at seq {segments[-1].next_seq - 1}, the manifest at {manifest.next_seq - 1}"
            self._findings.add(Rule.SEGMENT_GAP, self._prefix + segments[-1].key, message)
        listed = {wire["key"] for wire in manifest.files} | {past.file["key"] for past in manifest.history.files}
        for segment in segments:
            for key in segment.files:
                if key not in listed:
                    message = f"named by {segment.key!r}"
                    self._findings.add(Rule.HISTORY_FILE_LOST, self._prefix + key, message)


def _sessions_fault(manifest: Manifest) -> str | None:
    table: Any = manifest.sessions["sessions"]
    if not 0 <= table["floor"] <= manifest.through or manifest.sessions["ids_floor_us"] > manifest.log_time_us:
        return f"floors {table['floor']} and {manifest.sessions['ids_floor_us']} µs are in the future"
    keys = set()
    for key, low, born, position, us, receipts in table["sessions"]:
        name = f"session {bytes(key).hex()}"
        if key in keys:
            return f"{name} is there twice"
        keys.add(key)
        if born < 0 or not 0 <= position <= manifest.through or us > manifest.log_time_us:
            return f"{name}: born {born}, last at position {position}, {us} µs"
        for number, kind, seq, _, _ in receipts:
            if number < low or not isinstance(kind, str) or not 0 <= seq < manifest.next_seq:
                return f"{name}: request {number} below {low}, or with seq {seq} beyond {manifest.next_seq}"
    return None
