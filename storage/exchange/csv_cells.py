"""Cells of CSV files: text, and which values it may stand for.

    kind            cells that are read as it                                     value
    string          any                                                           str
    int             whole numbers of 64 bit                                       int
    float           numbers, nan, inf                                             float
    bool            true, false; when asked for also 1, 0                         bool
    datetime        ISO 8601, `2026-01-02 03:04:05.000006Z`; without a zone, UTC   datetime
    date            `2026-01-02`                                                  date
    decimal(p,s)    numbers of at most p digits, s of them behind the point       Decimal
    decimal         numbers                                                       Decimal, digits as written
    uuid            UUIDs                                                         UUID
    bytes           base64                                                        bytes
    json            extended JSON                                                 any

Without being told, a column becomes something else than text only if nothing is lost by it, judged by all its cells:
`00123`, `+49`, whole numbers of 16 and more digits beside fractions, numbers of more than 17 digits that count and
those too large for a float stay text.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.documents import extended_json
from parquedb.errors import InvalidInputError
from parquedb.storage.files.columns import DECIMAL_DIGITS_MAX, TIME_TYPE

KINDS: Final = (
    "string", "int", "float", "bool", "datetime", "date", "decimal", "decimal(p,s)", "uuid", "bytes", "json",
)  # fmt: skip
VALUE_KINDS: Final = frozenset({"json", "decimal"})
"""Kinds whose values need not have one type: such cells become Python values."""

_DECIMAL: Final = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")
# Besides: more digits than a float can have, 18 from the first to the last that is not 0.
_LOSSY_AS_FLOAT: Final = r"^(\+|-?0\d|-?\d{16,}$|-?[0.]*[1-9](\.?\d){16,}\.?[1-9]0*([eE]|$))"
_EXACT_IN_FLOAT: Final = 2**53
_EPOCH_TYPE: Final = pa.timestamp("us")
_CHARS_SHOWN: Final = 40
_FEW_CELLS: Final = 64

Cast = Callable[[pa.Array], pa.Array]


def is_kind(kind: object) -> bool:
    """Whether there is a kind of this name."""
    return isinstance(kind, str) and (kind in KINDS[:7] or kind in KINDS[8:] or decimal_type(kind) is not None)


def decimal_type(kind: str) -> pa.DataType | None:
    """Return the Arrow type of `decimal(p,s)`; None for another kind, or digits that there cannot be."""
    found = _DECIMAL.fullmatch(kind)
    if found is None or not 0 < int(found[1]) <= DECIMAL_DIGITS_MAX or int(found[2]) > int(found[1]):
        return None
    return pa.decimal128(int(found[1]), int(found[2]))


def read_cells(kind: str, cells: pa.Array) -> tuple[pa.Array | list[Any], list[int]]:
    """Return the values that cells stand for, and the positions of those that stand for none.

    Args:
        kind: What they shall be.
        cells: Text, null for no value.

    Returns:
        An array, or a list for kinds of `VALUE_KINDS`; null or None where there is no value, or no readable one.
    """
    if kind in VALUE_KINDS:
        return _python_values(_VALUES[kind], cells)
    if kind in {"uuid", "bytes"}:
        values, bad = _python_values(_VALUES[kind], cells)
        if kind == "bytes":
            return pa.array(values, pa.binary()), bad
        plain = pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(pa.uuid(), plain), bad
    cast = _cast_of(kind)
    bad = misfits(cast, cells)
    return cast(without(cells, bad)), bad


def misfits(cast: Cast, cells: pa.Array) -> list[int]:
    """Return the positions of the cells that a cast refuses."""
    if not _refuses(cast, cells):
        return []
    found: list[int] = []
    for start in range(0, len(cells), _FEW_CELLS):
        few = cells.slice(start, _FEW_CELLS)
        if _refuses(cast, few):
            found += [start + at for at in range(len(few)) if _refuses(cast, few.slice(at, 1))]
    return found


def _refuses(cast: Cast, cells: pa.Array) -> bool:
    try:
        cast(cells)
    except (pa.ArrowException, ValueError):
        return True
    return False


def without(cells: pa.Array, bad: Sequence[int]) -> pa.Array:
    """Return cells with null in the place of some."""
    if not bad:
        return cells
    good = np.ones(len(cells), np.bool_)
    good[list(bad)] = False
    return pc.if_else(pa.array(good), cells, pa.scalar(None, cells.type))


def as_text(cells: pa.Array) -> pa.Array:
    """Return bytes as text; raises pyarrow's error where they are not UTF-8."""
    return cells.cast(pa.string())


def shown(cell: str | None) -> str:
    """Return a cell for a message."""
    text = cell or ""
    return repr(text if len(text) <= _CHARS_SHOWN else text[:_CHARS_SHOWN] + "...")


def _cast_of(kind: str) -> Cast:
    if kind == "datetime":
        return _datetimes
    wanted = _TYPES.get(kind) or decimal_type(kind)
    return lambda cells: cells.cast(wanted)


def _datetimes(cells: pa.Array) -> pa.Array:
    """Cells with a zone, or all without; a column may hold both, piece by piece."""
    try:
        return cells.cast(TIME_TYPE)
    except pa.ArrowInvalid:
        zoned = pc.match_substring_regex(cells, r"(Z|[-+]\d\d(:?\d\d)?)$")
        # A date ends like a zone of west; it has no colon before.
        zoned = pc.and_(zoned, pc.match_substring(cells, ":"))
        nothing = pa.scalar(None, cells.type)
        with_zone = pc.if_else(zoned, cells, nothing).cast(TIME_TYPE)
        without = pc.if_else(zoned, nothing, cells).cast(_EPOCH_TYPE).view(pa.int64()).view(TIME_TYPE)
        return pc.coalesce(with_zone, without)


def _python_values(read: Callable[[str], Any], cells: pa.Array) -> tuple[list[Any], list[int]]:
    values: list[Any] = []
    bad: list[int] = []
    for position, cell in enumerate(cells.to_pylist()):
        try:
            values.append(None if cell is None else read(cell))
        except (ValueError, InvalidOperation, InvalidInputError):
            values.append(None)
            bad.append(position)
    return values, bad


def _bytes(cell: str) -> bytes:
    try:
        return b64decode(cell, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


_TYPES: Final = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
}
_VALUES: Final[dict[str, Callable[[str], Any]]] = {
    "json": extended_json.loads,
    "decimal": Decimal,
    "uuid": UUID,
    "bytes": _bytes,
}


class Inference:
    """Finds out what all cells of one column can be read as."""

    ORDER: Final = ("bool", "int", "float", "date", "datetime", "json")

    def __init__(self) -> None:
        self._possible = set(self.ORDER)
        self._seen = False

    def feed(self, cells: pa.Array) -> None:
        """Look at some more cells."""
        values = cells.drop_null()
        if not len(values) or not self._possible:
            return
        self._seen = True
        integers = _exact_integers(values) if self._possible & {"int", "float"} else None
        tests: dict[str, Callable[[], bool]] = {
            "bool": lambda: _are_booleans(values),
            "int": lambda: integers is not None,
            "float": lambda: _are_floats(values) if integers is None else _fit_in_float(integers),
            "date": lambda: not _refuses_some(_cast_of("date"), values),
            "datetime": lambda: not _refuses_some(_datetimes, values),
            "json": lambda: _are_json(values),
        }
        self._possible = {kind for kind in self._possible if tests[kind]()}

    @property
    def kind(self) -> str:
        """The narrowest kind of all cells seen."""
        found: Iterable[str] = (kind for kind in self.ORDER if kind in self._possible)
        return next(iter(found), "string") if self._seen else "string"


def _refuses_some(cast: Cast, values: pa.Array) -> bool:
    # Arrow words an error for each value that it refuses: a few are asked first.
    return _refuses(cast, values.slice(0, _FEW_CELLS)) or _refuses(cast, values)


def _exact_integers(values: pa.Array) -> pa.Array | None:
    """Return the whole numbers that cells are, if each is written as such a number is; None otherwise."""
    if _refuses_some(_cast_of("int"), values):
        return None
    integers = values.cast(pa.int64())
    return integers if integers.cast(pa.string()).equals(values) else None


def _fit_in_float(integers: pa.Array) -> bool:
    bounds = pc.min_max(integers).as_py()
    return bool(bounds["min"] >= -_EXACT_IN_FLOAT and bounds["max"] <= _EXACT_IN_FLOAT)


def _are_floats(values: pa.Array) -> bool:
    if _refuses_some(_cast_of("float"), values):
        return False
    if pc.any(pc.match_substring_regex(values, _LOSSY_AS_FLOAT)).as_py():
        return False
    infinite = pc.is_inf(values.cast(pa.float64()))
    return not pc.any(pc.and_(infinite, pc.match_substring_regex(values, r"\d"))).as_py()


def _are_booleans(values: pa.Array) -> bool:
    return bool(pc.all(pc.is_in(pc.utf8_lower(values), pa.array(["true", "false"]))).as_py())


def _are_json(values: pa.Array) -> bool:
    """Whether every cell is a JSON object or list."""
    if not pc.all(pc.match_substring_regex(values, r"^\s*[\[{]")).as_py():
        return False
    return not _python_values(extended_json.loads, values)[1]


def rows_but(rows: int, bad: Sequence[int]) -> pa.Array:
    """Return the positions that are not bad."""
    left_out = set(bad)
    return pa.array([row for row in range(rows) if row not in left_out], pa.int64())
