"""The schemas that a namespace has had, oldest first; the last one binds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from parquedb.documents.codec import encode
from parquedb.errors import SchemaMismatchError
from parquedb.schemas.evolution import mode_obstacles, obstacles
from parquedb.schemas.guard import Guard, Mode
from parquedb.schemas.model import Schema

VERSIONS_MAX: Final = 100
"""Versions that are kept; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registration.

    Attributes:
        number: 1, 2, 3, ...
        seq: Of the log; it binds every write after it.
        mode: See `Mode`.
        schema: What it says.
    """

    number: int
    seq: int
    mode: Mode
    schema: Schema

    def to_wire(self) -> dict[str, Any]:
        """Return plain data for `from_wire`."""
        return {"version": self.number, "seq": self.seq, "mode": str(self.mode), "schema": self.schema.to_wire()}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Version:
        """Rebuild a version.

        Raises:
            KeyError, TypeError, ValueError: the wire form is another.
        """
        return cls(wire["version"], wire["seq"], Mode(wire["mode"]), Schema.from_wire(wire["schema"]))


class Registered:
    """The versions of a namespace's schema. Immutable; registering makes a new one.

    Attributes:
        versions: At most `VERSIONS_MAX`.
        guard: Of the last one; None where there is none.
    """

    def __init__(self, versions: Sequence[Version] = ()) -> None:
        self.versions = tuple(versions[-VERSIONS_MAX:])
        self.guard = Guard(self.versions[-1].schema, self.versions[-1].mode) if self.versions else None

    @property
    def current(self) -> Version | None:
        """The version that binds."""
        return self.versions[-1] if self.versions else None

    @property
    def number(self) -> int:
        """Number of the version in force; 0 for none."""
        return self.versions[-1].number if self.versions else 0

    @property
    def fills_in(self) -> bool:
        """Whether the version in force has defaults."""
        return self.guard is not None and self.guard.fills

    def following(self, schema: Schema, mode: Mode, seq: int, *, checked: bool) -> Version | None:
        """Return the version that a registration makes; None if schema and mode are those in force.

        Args:
            schema: What is to be registered.
            mode: Its mode.
            seq: Of the registration.
            checked: The existing documents are known to pass.

        Raises:
            SchemaMismatchError: it cannot follow the version in force; names every field that stands in its way.
        """
        current = self.current
        if current is None:
            return Version(1, seq, mode, schema)
        # Their bytes, for 1, 1.0 and True are equal.
        if mode is current.mode and encode(schema.to_wire()) == encode(current.schema.to_wire()):
            return None
        reasons = obstacles(current.schema, schema)
        if not checked:
            reasons += mode_obstacles(current.mode, mode)
        if reasons:
            raise SchemaMismatchError(version=current.number, reasons=reasons)
        return Version(current.number + 1, seq, mode, schema)

    def extended(self, version: Version) -> Registered:
        """Return what is registered after one more version."""
        return Registered((*self.versions, version))

    def to_wire(self) -> list[Any]:
        """Return plain data for `from_wire`."""
        return [version.to_wire() for version in self.versions]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Registered:
        """Rebuild what `to_wire` gave; raises like `Version.from_wire`."""
        return cls([Version.from_wire(version) for version in wire])


def answer(registered: Registered) -> dict[str, Any] | None:
    """Return what `schema()` and `register()` say, as plain data: the version in force, and all `versions` in short."""
    current = registered.current
    if current is None:
        return None
    versions = [[version.number, version.seq, str(version.mode)] for version in registered.versions]
    return {**current.to_wire(), "versions": versions}
