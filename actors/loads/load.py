"""What passes between the owner of a namespace and whoever makes data files by himself: terms, and a load.

    terms    what the files must be like: columns, schema, limits, the epoch in their names
    load     what is to be said of the stored files, so that the owner can commit them

Terms are good as long as the owner and the schema stay the same.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from parquedb.errors import InvalidInputError, ValidationError
from parquedb.schemas.guard import Guard, Mode
from parquedb.schemas.registered import Version
from parquedb.storage.bulk.load_file import Hold, Plan
from parquedb.storage.bulk.store import Stored
from parquedb.storage.files.columns import ColumnRegistry
from parquedb.storage.files.data_file import ROW_GROUP_ROWS, DataFile

COMMIT_ROWS_MAX: Final = 32 * ROW_GROUP_ROWS
"""Documents that one entry loads; more take several, and then it is not all or nothing."""

COMMIT_FILES_MAX: Final = 64

_KEY = re.compile(r"data/(\d+)-[0-9a-f]{32}\.parquet")
_RANDOM_BITS: Final = 80


@dataclass(frozen=True, slots=True)
class Terms:
    """What whoever makes files has to know.

    Attributes:
        epoch: Of the owner; part of the files' names.
        at: When the documents are said to be made, by the owner's clock.
        registry: The namespace's columns.
        version: The schema in force; None for none.
        bytes_max: Of one document.
        depth_max: Levels of one document.
    """

    epoch: int
    at: datetime
    registry: ColumnRegistry
    version: Version | None
    bytes_max: int
    depth_max: int

    def to_wire(self) -> dict[str, Any]:
        """Return plain data for `from_wire`."""
        return {
            "epoch": self.epoch,
            "at": self.at,
            "registry": self.registry.to_wire(),
            "version": None if self.version is None else self.version.to_wire(),
            "bytes_max": self.bytes_max,
            "depth_max": self.depth_max,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Terms":
        """Rebuild what `to_wire` gave."""
        version = None if wire["version"] is None else Version.from_wire(wire["version"])
        return cls(**{**wire, "registry": ColumnRegistry.from_wire(wire["registry"]), "version": version})

    @property
    def schema(self) -> int:
        """Number of the schema in force; 0 for none."""
        return 0 if self.version is None else self.version.number

    def plan(self, namespace: str, *, actor: str | None, id_column: str, strict: bool = False) -> Plan:
        """Return what the documents of a load under these terms have in common.

        Args:
            namespace: Whose they are.
            actor: Who is said to make them.
            id_column: See `Plan`.
            strict: Whether also that is refused which the schema's mode lets through with a warning.
        """
        return Plan(
            namespace=namespace,
            at=self.at,
            actor=actor,
            id_column=id_column,
            registry=self.registry,
            hold=hold_of(self.version, strict=strict),
            bytes_max=self.bytes_max,
            depth_max=self.depth_max,
        )

    def load(self, stored: Stored, *, fresh: bool, answer: Mapping[str, Any]) -> "Load":
        """Return what is to be said of files made under these terms."""
        return Load(stored.files, stored.columns.to_wire(), self.epoch, self.schema, self.at, fresh, answer)


@dataclass(frozen=True, slots=True)
class Load:
    """Stored files that wait to be committed.

    Attributes:
        files: Their seqs count from 0 in each.
        columns: Wire form of the registry of their columns.
        epoch: Of the owner whose names they have.
        schema: Number of the schema that the documents were held to; 0 for none.
        at: When the documents are said to be made.
        fresh: Whether all ids were made for this, so that nobody can have them.
        answer: What the request is answered beside `rows`, now and whenever it is repeated; plain data.
    """

    files: tuple[DataFile, ...]
    columns: Mapping[str, Any]
    epoch: int
    schema: int
    at: datetime
    fresh: bool
    answer: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Documents in all files."""
        return sum(file.rows for file in self.files)

    def to_wire(self) -> dict[str, Any]:
        """Return plain data for `from_wire`."""
        return {
            "files": [file.to_wire() for file in self.files],
            "columns": dict(self.columns),
            "epoch": self.epoch,
            "schema": self.schema,
            "at": self.at,
            "fresh": self.fresh,
            "answer": dict(self.answer),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Load":
        """Rebuild what `to_wire` gave, if it can be committed.

        Raises:
            InvalidInputError: it cannot.
        """
        try:
            load = cls(**{**wire, "files": tuple(map(DataFile.from_wire, wire["files"]))})
            ColumnRegistry.from_wire(load.columns)
            epochs = {found and int(found[1]) for found in (_KEY.fullmatch(file.key) for file in load.files)}
            counted = all(file.seq_first == 0 and file.seq_last == file.rows - 1 >= 0 for file in load.files)
            footed = all(file.tail is not None and 0 < file.tail.bytes <= file.bytes for file in load.files)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInputError(f"not a bulk load: {type(error).__name__}: {error}") from error
        distinct = len({file.key for file in load.files}) == len(load.files)
        if epochs != {load.epoch} or not (counted and footed and distinct) or load.at.tzinfo is None:
            raise InvalidInputError("not a bulk load: its files have other names, seqs or ends than such files have")
        if len(load.files) > COMMIT_FILES_MAX or load.rows > COMMIT_ROWS_MAX:
            message = f"one commit loads at most {COMMIT_FILES_MAX} files and {COMMIT_ROWS_MAX:,} documents"
            raise InvalidInputError(message)
        return load


def hold_of(version: Version | None, *, strict: bool) -> Hold | None:
    """Return what holds new documents to a schema; None where there is none. See `Terms.plan`."""
    if version is None:
        return None
    guard = Guard(version.schema, version.mode)

    def hold(document: dict[str, Any]) -> None:
        guard.fill(document, new=True)
        try:
            guard.check(document)
        except ValidationError:
            if strict or guard.mode is not Mode.WARN:
                raise

    return hold


def first_ulid(at_s: float, rng: random.Random) -> int:
    """Return the number of a ULID made at a Unix time."""
    return int(at_s * 1000) << _RANDOM_BITS | rng.getrandbits(_RANDOM_BITS)
