"""The query string of a request: text, JSON, flags and numbers by name, and no other names than expected."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from parquedb.documents import extended_json
from parquedb.errors import InvalidInputError, ValidationError

PARAMETERS_MAX: Final = 100

_DIGITS_MAX: Final = 19
_TRUE: Final = frozenset({"true", "1", ""})  # `?upsert` alone says yes as well.
_FALSE: Final = frozenset({"false", "0"})


class QueryString(Mapping[str, str]):
    """Text by name.

    Args:
        raw: As it was sent.
        depth_max: Levels of nesting of JSON in it.

    Raises:
        InvalidInputError: it cannot be read, or a name comes twice.
    """

    def __init__(self, raw: bytes, depth_max: int) -> None:
        self._depth_max = depth_max
        self._found: dict[str, str] = {}
        if not raw:
            return
        try:
            pairs = parse_qsl(
                raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
            )
        except ValueError as error:
            raise InvalidInputError(f"the query string cannot be read: {error}") from None
        self._found = dict(pairs)
        if len(self._found) != len(pairs):
            raise InvalidInputError("a query parameter is given twice")

    def expect(self, *names: str) -> None:
        """Refuse other names than these: a misspelt filter must not match everything.

        Raises:
            InvalidInputError: there is one.
        """
        for name in self._found:
            if name not in names:
                expected = ", ".join(names) or "nothing"
                raise InvalidInputError(f"unknown query parameter {name[:80]!r}; expected {expected}", field=name[:80])

    def json(self, name: str) -> Any:
        """Return what is JSON; None where there is none.

        Raises:
            InvalidInputError: it is no JSON.
        """
        text = self._found.get(name)
        if text is None:
            return None
        try:
            return extended_json.loads_request(text, depth_max=self._depth_max)
        except InvalidInputError as error:
            raise InvalidInputError(f"{name}: {error.message}", field=name, cause=error) from error

    def flag(self, name: str) -> bool:
        """Return what is true or false; False where there is none.

        Raises:
            ValidationError: it is neither.
        """
        text = self._found.get(name, "false").lower()
        if text not in _TRUE | _FALSE:
            raise ValidationError(f"{name}: expected true or false, got {text[:40]!r}", field=name)
        return text in _TRUE

    def number(self, name: str, default: int) -> int:
        """Return what is an int.

        Raises:
            ValidationError: it is none.
        """
        text = self._found.get(name)
        if text is None:
            return default
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
            raise ValidationError(f"{name}: expected an int, got {text[:40]!r}", field=name)
        return int(text)

    def as_of(self) -> int | datetime | None:
        """Return the moment that `as_of` names: a seq, or a time in ISO 8601 form.

        Raises:
            ValidationError: it is neither.
        """
        text = self._found.get("as_of")
        if text is None:
            return None
        if text.isascii() and text.isdigit():
            return self.number("as_of", 0)
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            words = f"as_of: expected a seq or an ISO 8601 time, got {text[:40]!r}"
            raise ValidationError(words, field="as_of") from None

    def sort(self) -> Any:
        """Return the order that `sort` names: a field, as `-age`, or JSON; raises as `json`."""
        text = self._found.get("sort")
        return self.json("sort") if text is not None and text[:1] in {"[", "{", '"'} else text

    def __getitem__(self, name: str) -> str:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
