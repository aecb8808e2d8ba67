"""Looking at the objects of a state one by one, each once, however often the state moves on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.object_cache import Run
from parquedb.storage.log.manifest import HistorySegment, Segment
from parquedb.storage.verification.data_file_rules import RowRules, check_footer, check_tail, check_whole
from parquedb.storage.verification.inventory import Inventory
from parquedb.storage.verification.report import Findings, Level
from parquedb.storage.verification.rules import Rule
from parquedb.storage.verification.segment_rules import SegmentContent, check_request_ids, check_segment
from parquedb.storage.verification.source import Source
from parquedb.storage.verification.spill import Spill
from parquedb.storage.verification.traces import Trace

T = TypeVar("T")

_FOOTER_READ_BYTES: Final = 64 << 10

Missing = Callable[[str], Awaitable[bool]]
"""Says whether a missing object is still referred to; raises where the state has moved on."""

Done = Callable[[int], None]
"""Told how many bytes of objects are done with."""


@dataclass(slots=True)
class Looked:
    """What a look at one object gave.

    Attributes:
        findings: What is wrong with it.
        content: What it says of documents; None where that is not known.
    """

    findings: Findings = field(default_factory=Findings)
    content: Any = None


class Objects:
    """Looks at data files and segments.

    Args:
        source: Reads.
        namespace: Whose they are.
        level: How closely.
        run: Runs CPU work off the event loop.
        seed: For hashes of ids.
        spill: Keeps what documents are about.
        missing: See `Missing`.
        done: See `Done`.
    """

    def __init__(  # noqa: PLR0913 - the verifier wires it once
        self,
        source: Source,
        namespace: str,
        level: Level,
        *,
        run: Run,
        seed: int,
        spill: Spill,
        missing: Missing,
        done: Done,
    ) -> None:
        self._source = source
        self._namespace = namespace
        self._full = level is Level.FULL
        self._run = run
        self._seed = seed
        self._spill = spill
        self._missing = missing
        self._done = done
        self._looked: dict[str, Looked] = {}

    async def files(self, files: Iterable[DataFile], inventory: Inventory, findings: Findings) -> dict[str, Trace]:
        """Look at data files; return what those say of documents that could be read."""
        check = self._whole_file if self._full else self._footer
        return await self._contents(files, inventory, check, Rule.DATA_FILE_MISSING, findings)

    async def segments(
        self, segments: Iterable[Segment], inventory: Inventory, findings: Findings
    ) -> dict[str, SegmentContent]:
        """Look at segments of events; return what those say that could be read."""
        check = self._whole_segment if self._full else self._size
        return await self._contents(segments, inventory, check, Rule.SEGMENT_MISSING, findings)

    async def request_ids(
        self, segments: Iterable[Segment], inventory: Inventory, next_seq: int, findings: Findings
    ) -> None:
        """Look at segments of callers' request ids."""
        check = partial(self._whole_request_ids, next_seq=next_seq) if self._full else self._size
        await self._contents(segments, inventory, check, Rule.SEGMENT_MISSING, findings)

    async def _contents(
        self, described: Iterable[Any], inventory: Inventory, check: Any, missing: Rule, findings: Findings
    ) -> dict[str, Any]:
        """Look at each described object; return by key what those hold that could be read."""
        found = {}
        async for one, looked in self._each(described, inventory, check, missing):
            findings.absorb(looked.findings)
            if looked.content is not None:
                found[one.key] = looked.content
        return found

    async def _each(self, described: Iterable[Any], inventory: Inventory, check: Any, missing: Rule) -> Any:
        """Yield each described object with what a look at it gave; the next one is read meanwhile."""
        wanted = list(described)
        ahead: asyncio.Task[Looked] | None = None
        try:
            for number, one in enumerate(wanted):
                task = ahead or asyncio.ensure_future(self._look(one, inventory, check, missing))
                following = wanted[number + 1] if number + 1 < len(wanted) else None
                ahead = (
                    None
                    if following is None
                    else asyncio.ensure_future(self._look(following, inventory, check, missing))
                )
                looked = await task
                self._looked[one.key] = looked
                self._done(inventory.size(one.key))
                yield one, looked
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _look(self, one: Any, inventory: Inventory, check: Any, missing: Rule) -> Looked:
        known = self._looked.get(one.key)
        if known is not None:
            return known
        looked = Looked()
        if not await check(one, inventory, looked) and await self._missing(one.key):
            looked.findings.add(missing, self._source.prefix + one.key, "the newest manifest or the log names it")
        return looked

    # Each of these returns whether the object is there.

    async def _whole_file(self, file: DataFile, _: Inventory, looked: Looked) -> bool:
        data = await self._source.read(file.key)
        if data is None:
            return False
        looked.content = await self._run(partial(self._rows, file, data, looked.findings))
        return True

    def _rows(self, file: DataFile, data: bytes, findings: Findings) -> Trace | None:
        key = self._source.prefix + file.key
        footer = check_whole(data, file, key, findings)
        if footer is None:
            return None
        return RowRules(file, self._namespace, key, findings, self._seed).run(data, footer, self._spill)

    async def _footer(self, file: DataFile, inventory: Inventory, looked: Looked) -> bool:
        key, info = self._source.prefix + file.key, await self._info(file.key, inventory)
        if info is None:
            return False
        if info != file.bytes:
            looked.findings.add(Rule.DATA_FILE_SIZE, key, f"{info} bytes instead of {file.bytes}")
            return True
        size = file.bytes if file.tail is None else max(file.tail.bytes, _FOOTER_READ_BYTES)
        data = await self._source.read_end(file.key, file.bytes, size)
        if data is None:
            return False
        if file.tail is None:
            await self._run(partial(check_footer, data, file, key, looked.findings))
        else:
            await self._run(partial(check_tail, data, file, key, looked.findings))
        return True

    async def _whole_segment(self, segment: Segment, _: Inventory, looked: Looked) -> bool:
        data = await self._source.read(segment.key)
        if data is None:
            return False
        key, findings = self._source.prefix + segment.key, looked.findings
        check = partial(check_segment, segment, data, self._namespace, key)
        looked.content = await self._run(partial(check, findings=findings, seed=self._seed, spill=self._spill))
        return True

    async def _whole_request_ids(self, segment: Segment, _: Inventory, looked: Looked, *, next_seq: int) -> bool:
        data = await self._source.read(segment.key)
        if data is None:
            return False
        key = self._source.prefix + segment.key
        await self._run(partial(check_request_ids, segment, data, key, next_seq, looked.findings))
        return True

    async def _size(self, segment: Segment, inventory: Inventory, looked: Looked) -> bool:
        size = await self._info(segment.key, inventory)
        if size is not None and isinstance(segment, HistorySegment) and size != segment.bytes:
            message = f"{size} bytes instead of {segment.bytes}"
            looked.findings.add(Rule.SEGMENT_DAMAGED, self._source.prefix + segment.key, message)
        return size is not None

    async def _info(self, key: str, inventory: Inventory) -> int | None:
        """Return the size of an object: as listed, or as it is now if it is younger than the listing."""
        listed = inventory.objects.get(key)
        if listed is not None:
            return listed.size
        info = await self._source.stat(key)
        return None if info is None else info.size
