"""Data files in memory: their columns as decoded, in one cache with the objects and footers they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.dictionary_pages import Texts, entries_of, lacks
from parquedb.storage.files.object_cache import ObjectCache
from parquedb.storage.files.partial_reads import Readable
from parquedb.storage.files.row_groups import DECODE_ERRORS, Footer, decode_groups, top_level
from parquedb.storage.files.shred import Columns
from parquedb.storage.together import together

_GROUPS_A_CALL = 4
"""Between two calls threads wait for each other; what one call decodes may only leave memory together."""

_THREADS = 2
"""Decoding gains nothing from more, and leaves the others to those who wait for them."""


class Portion(NamedTuple):
    """What a query looks at in one row group.

    Attributes:
        file: The file.
        group: Number of the row group.
        paths: Top-level columns, or dotted paths below them; at most one of each top-level column.
        texts: Top-level fields of which a row must have one of some texts to be of interest.
    """

    file: DataFile
    group: int
    paths: Sequence[str]
    texts: Texts = ()


class _Wanted(NamedTuple):
    """Columns of one row group, by the names that the file has for them.

    Attributes:
        file: The file.
        footer: Its structure.
        group: Number of the row group.
        names: Top-level columns, or paths of columns below one.
        encoded: Those that come as dictionary arrays.
        texts: As in `Portion`, of encoded columns.
    """

    file: DataFile
    footer: Footer
    group: int
    names: tuple[str, ...]
    encoded: frozenset[str]
    texts: Texts = ()

    @property
    def flight(self) -> tuple[Any, ...]:
        """Names the work of decoding them."""
        return ("decode", self.file.key, self.group, self.names, self.encoded, self.texts)

    def of(self, names: Sequence[str]) -> _Wanted:
        """Return the same for some of the names."""
        encoded = self.encoded.intersection(names)
        return self._replace(
            names=tuple(names), encoded=encoded, texts=tuple(one for one in self.texts if one[0] in encoded)
        )


class _Ruled(NamedTuple):
    """What stands for columns of which no row is of interest.

    Attributes:
        name: The column that says so.
        entries: Its dictionary.
    """

    name: str
    entries: bytes


class _Item(NamedTuple):
    """One portion being worked at.

    Attributes:
        columns: Those at hand, by top-level name.
        absent: The others.
        entries: Dictionaries at hand of absent columns, and the texts of which a row must have one there.
    """

    columns: Columns
    absent: _Wanted | None
    entries: Sequence[tuple[bytes, frozenset[str]]] = ()


_Decoded = dict[tuple[Any, ...], Columns | _Ruled | Exception]
"""Columns by flight, what stands for them, or why there are none."""


class FileCache(ObjectCache):
    """Decodes columns, and keeps them beside the objects."""

    async def columns(self, file: DataFile, group: int, names: Iterable[str] | None = None) -> dict[str, pa.Array]:
        """Return decoded columns of one row group, text as such.

        Args:
            file: The file.
            group: Number of the row group.
            names: Top-level columns, those that the file lacks are left out; None for all.

        Raises:
            CorruptionError: as `footer`.
        """
        footer = self._get(("footer", file.key)) or await self.footer(file)
        wanted = footer.names if names is None else tuple(name for name in names if name in footer.known)
        item = self._item(_Wanted(file, footer, group, wanted, frozenset()))
        if item.absent is None:
            return dict(item.columns)
        [found] = await self._share([item])
        return dict(found or {})

    async def each(self, portions: Sequence[Portion]) -> list[Columns | None]:
        """Return the columns of each portion; None where no row can have one of the `texts`.

        What is absent is read together and decoded in a few threads. Text that a file keeps as dictionaries comes as
        dictionary arrays.

        Raises:
            CorruptionError: as `footer`.
        """
        items = []
        for portion in portions:
            footer = self._get(("footer", portion.file.key)) or await self.footer(portion.file)
            items.append(self._item(_wanted(portion, footer)))
        size = max(1, -(-len(items) // _THREADS))
        shares = [items[first : first + size] for first in range(0, len(items), size)]
        return [one for share in await together([self._share(share) for share in shares]) for one in share]

    def now(self, portion: Portion, *, dictionaries: bool) -> Columns | None:
        """Return the columns of a portion, text as dictionary arrays or not, if all are in memory; else None."""
        footer = self._get(("footer", portion.file.key))
        if footer is None:
            return None
        wanted = _wanted(portion, footer)
        item = self._item(wanted if dictionaries else wanted._replace(encoded=frozenset(), texts=()))
        return item.columns if item.absent is None else None

    def _item(self, wanted: _Wanted) -> _Item:
        columns: dict[str, pa.Array] = {}
        missing = []
        for name in wanted.names:
            array = self._column(wanted, name)
            if array is None:
                missing.append(name)
            else:
                columns[top_level(name)] = array
        if not missing:
            return _Item(columns, None)
        absent = wanted.of(missing)
        entries = [(self._get(_entries(absent, name)), texts) for name, texts in absent.texts]
        return _Item(columns, absent, [(one, texts) for one, texts in entries if one is not None])

    def _column(self, wanted: _Wanted, name: str) -> pa.Array | None:
        found = self._get(_part(wanted, name))
        if found is None and "." in name:
            found = self._get(("column", wanted.file.key, wanted.group, top_level(name)))
        return found

    async def _share(self, items: Sequence[_Item]) -> list[Columns | None]:
        """Decode some portions in one thread; wait for those that others decode already."""
        if any(item.entries for item in items):
            ruled_out = await self._run(partial(_ruled_out, items))
            left = [item._replace(entries=()) for item, out in zip(items, ruled_out, strict=True) if not out]
            rest = iter(await self._share(left) if left else ())
            return [None if out else next(rest) for out in ruled_out]
        with ExitStack() as aboard:
            others, mine = {}, []
            for item in items:
                if item.absent is None:
                    continue
                flight = self._flying(item.absent.flight)
                if flight is None:
                    mine.append(item.absent)
                else:
                    others[item.absent.flight] = aboard.enter_context(flight)
            decoded = await self._begin(mine) if mine else {}
            for name, flight in others.items():
                decoded[name] = (await flight.result())[name]
        return [_complete(item, decoded) for item in items]

    async def _begin(self, wanted: Sequence[_Wanted]) -> _Decoded:
        with self._depart([one.flight for one in wanted], self._work(wanted)) as flight:
            return dict(await flight.result())

    async def _work(self, wanted: Sequence[_Wanted]) -> _Decoded:
        """Read, decode and keep; what goes wrong with one file is no matter to the others."""
        by_file: dict[str, list[_Wanted]] = {}
        for one in wanted:
            by_file.setdefault(one.file.key, []).append(one)
        spans = [
            (some[0].file, some[0].footer.spans((one.group, one.names) for one in some)) for some in by_file.values()
        ]
        data = dict(zip(by_file, await self.readable(spans), strict=True))
        decoded = await self._run(partial(_all_decoded, wanted, data))
        for one in wanted:
            self._settle(one, decoded)
        return decoded

    def _settle(self, wanted: _Wanted, decoded: _Decoded) -> None:
        """Keep columns that were decoded; name the object where they could not be."""
        columns = decoded[wanted.flight]
        if isinstance(columns, DECODE_ERRORS):
            reason = f"row group {wanted.group} cannot be decoded: {columns}"
            decoded[wanted.flight] = self.corruption(wanted.file.key, reason, columns)
        elif isinstance(columns, _Ruled):
            self._keep(_entries(wanted, columns.name), columns.entries, len(columns.entries))
        elif not isinstance(columns, Exception):
            for name in wanted.names:
                array = columns[top_level(name)]
                self._keep(_part(wanted, name), array, array.nbytes)


def _wanted(portion: Portion, footer: Footer) -> _Wanted:
    file, group, paths, texts = portion
    names = footer.stored(paths)
    return _Wanted(file, footer, group, names, footer.dictionaries.intersection(names), texts)


def _part(wanted: _Wanted, name: str) -> tuple[Any, ...]:
    return ("dictionary" if name in wanted.encoded else "column", wanted.file.key, wanted.group, name)


def _entries(wanted: _Wanted, name: str) -> tuple[Any, ...]:
    return ("entries", wanted.file.key, wanted.group, name)


def _ruled_out(items: Sequence[_Item]) -> list[bool]:
    """Return of which no row has one of its texts."""
    return [any(lacks(entries, texts) for entries, texts in item.entries) for item in items]


def _complete(item: _Item, decoded: _Decoded) -> Columns | None:
    """Return the columns of an item; None where no row is of interest."""
    if item.absent is None:
        return item.columns
    columns = decoded[item.absent.flight]
    if isinstance(columns, Exception):
        raise columns
    return None if isinstance(columns, _Ruled) else {**item.columns, **columns}


def _all_decoded(wanted: Sequence[_Wanted], data: Mapping[str, Readable | BaseException]) -> _Decoded:
    decoded: _Decoded = {}
    for some in _alike(wanted):
        decoded |= _decoded(some, data[some[0].file.key], alone=len(wanted) == 1)
    return decoded


def _alike(wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
    """Yield those that can be decoded by one call: the same columns of one file, of a few row groups in a row."""
    for _, run in groupby(wanted, lambda one: (one.file.key, one.names, one.encoded)):
        some = list(run)
        for first in range(0, len(some), _GROUPS_A_CALL):
            yield some[first : first + _GROUPS_A_CALL]


def _decoded(wanted: Sequence[_Wanted], data: Readable | BaseException, *, alone: bool) -> _Decoded:
    """Return columns, what stands for them, or why there are none."""
    if isinstance(data, Exception):
        return dict.fromkeys((one.flight for one in wanted), data)
    if isinstance(data, BaseException):
        raise data
    try:
        ruled = {one.flight: found for one in wanted if (found := _ruled(one, data)) is not None}
        rest = [one for one in wanted if one.flight not in ruled]
        if not rest:
            return {**ruled}
        first = rest[0]
        groups = [one.group for one in rest]
        arrays = decode_groups(data, first.footer, groups, first.names, encoded=first.encoded, threads=alone)
    except DECODE_ERRORS as error:
        if len(wanted) == 1:
            return {wanted[0].flight: error}
        # One by one, to learn which of them it is.
        outcomes: _Decoded = {}
        for one in wanted:
            outcomes |= _decoded([one], data, alone=alone)
        return outcomes
    return {**ruled, **{one.flight: columns for one, columns in zip(rest, arrays, strict=True)}}


def _ruled(wanted: _Wanted, data: Readable) -> _Ruled | None:
    """Return the dictionary that says that no row is of interest, if one does."""
    group, numbers = wanted.footer.metadata.row_group(wanted.group), wanted.footer.numbers
    for name, texts in wanted.texts:
        entries = entries_of(data, group.column(numbers[name]))
        if entries is not None and lacks(entries, texts):
            return _Ruled(name, entries)
    return None
