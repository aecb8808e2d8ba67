"""The current state of a namespace by what it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parquedb.errors import CorruptionError
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.history.segment import named_files
from parquedb.storage.log.entry import Kind
from parquedb.storage.log.manifest import Segment
from parquedb.storage.verification.look import Look


@dataclass(frozen=True, slots=True)
class State:
    """What a look refers to; keys are relative to the namespace.

    Attributes:
        files: Data files whose live rows are documents.
        past: Data files kept for history alone.
        history: Segments of events that are in data files, oldest first.
        tails: Segments of events that are in none yet, oldest first.
        request_ids: Segments of callers' request ids.
        fences: Positions of `open` entries below the entries of the look.
        referred: Every key, the manifest's included.
        epoch: Of the last entry.
    """

    files: Mapping[str, DataFile]
    past: Mapping[str, DataFile]
    history: tuple[Segment, ...]
    tails: tuple[Segment, ...]
    request_ids: tuple[Segment, ...]
    fences: tuple[int, ...]
    referred: frozenset[str]
    epoch: int

    @classmethod
    def of(cls, look: Look) -> State:
        """Return what a look refers to; of a manifest that cannot be read, nothing."""
        manifest, base = look.manifest, look.base
        files: dict[str, DataFile] = {}
        past: dict[str, DataFile] = {}
        referred: set[str] = set() if base is None else {base.manifest}
        if manifest is not None:
            files = {wire["key"]: DataFile.from_wire(wire) for wire in manifest.files}
            past = {one.file["key"]: DataFile.from_wire(one.file) for one in manifest.history.files}
            referred |= manifest.objects
        for entry in look.entries:
            if entry.header.kind == Kind.BULK:
                try:
                    files |= {file.key: file for file in named_files(entry)}
                except CorruptionError:
                    continue  # The look has reported it.
        epoch = look.entries[-1].header.epoch if look.entries else 0 if manifest is None else manifest.epoch
        return cls(
            files=files,
            past={key: file for key, file in past.items() if key not in files},
            history=() if manifest is None else manifest.history.segments,
            tails=() if manifest is None else manifest.tails,
            request_ids=() if manifest is None else manifest.request_ids,
            fences=() if manifest is None else manifest.fences,
            referred=frozenset(referred | files.keys()),
            epoch=epoch,
        )

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments of events, oldest first."""
        return (*self.history, *self.tails)
