"""Conditional requests: entity tags, and what they say of a version.

The tag of a document is its version in quotes; it is strong, for a version is one sequence of bytes.

Source:
    RFC 9110, sections 8.8.3 (ETag) and 13 (Conditional Requests).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from starlette.datastructures import Headers

from parquedb.errors import InvalidInputError

TAGS_MAX: Final = 100
"""Tags of one field."""

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Tags:
    """What one of both fields lists.

    Attributes:
        anything: Whether it is `*`: any document, so long as there is one.
        strong: Opaque parts of strong tags.
        weak: Opaque parts of weak ones.
    """

    anything: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    @classmethod
    def read(cls, name: str, lines: Sequence[str]) -> Self | None:
        """Read a field; None where there is none.

        Raises:
            InvalidInputError: it is no list of tags.
        """
        if not lines:
            return None
        text = ",".join(lines)
        if text.strip() == "*":
            return cls(anything=True)
        tags: dict[bool, set[str]] = {True: set(), False: set()}
        parts = _split(text)
        if not 0 < len(parts) <= TAGS_MAX:
            raise InvalidInputError(f"{name}: expected 1 to {TAGS_MAX} tags, got {len(parts)}", field=name)
        for part in parts:
            match = _TAG.fullmatch(part)
            if match is None:
                raise InvalidInputError(
                    f'{name}: expected "*" or tags such as "3", each in its quotes, got {part[:40]!r}', field=name
                )
            tags[match[1] is not None].add(match[2])
        return cls(strong=frozenset(tags[False]), weak=frozenset(tags[True]))

    def versions(self) -> frozenset[int]:
        """Return the versions that strong tags stand for; of weak ones, and of others' tags, none is a version."""
        return frozenset(int(tag) for tag in self.strong if _VERSION.fullmatch(tag))

    def matches_strongly(self, version: int | None) -> bool:
        """Whether a document at this version is one of those meant, byte for byte; None stands for no document."""
        return version is not None and (self.anything or str(version) in self.strong)

    def matches_weakly(self, version: int | None) -> bool:
        """Whether a document at this version is one of those meant, as far as anybody cares."""
        return version is not None and (self.anything or str(version) in self.strong | self.weak)

    def __str__(self) -> str:
        if self.anything:
            return "*"
        return ", ".join([*(f'"{tag}"' for tag in sorted(self.strong)), *(f'W/"{tag}"' for tag in sorted(self.weak))])


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which conditions a request wants to be carried out; None where it does not say.

    Attributes:
        if_match: The document is one of these.
        if_none_match: The document is none of these.
    """

    if_match: Tags | None
    if_none_match: Tags | None

    @classmethod
    def of(cls, headers: Headers) -> Self:
        """Read both fields; raises as `Tags.read`."""
        return cls(
            Tags.read("If-Match", headers.getlist("if-match")),
            Tags.read("If-None-Match", headers.getlist("if-none-match")),
        )


def _split(text: str) -> list[str]:
    """Return the parts between commas that stand outside of quotes; empty ones do not count."""
    parts = re.findall(r'(?:"[^"]*"|[^,"]|")+', text)
    return [part.strip() for part in parts if part.strip()]
