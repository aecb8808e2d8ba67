"""The history of a namespace as storage holds it, read by a bystander, and what must be true of every history.

The collector removes old entries, so a bystander has to look while the load runs: `watch` in the background, at the
end `history`. It never looks at a position twice: below the newest checkpoint late packets may leave rubbish.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from parquedb.clock import SystemClock
from parquedb.errors import ObjectNotFoundError, ParqueDBError
from parquedb.settings import Settings
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.entry import GENESIS, Kind, LogEntry, decode_entry, is_successor, position_of
from parquedb.storage.log.events import Event, decode_body
from parquedb.storage.log.opening import Opener
from parquedb.storage.open import open_backend
from tests.support.workloads import Attempt, State

PAGE = 1000
PAGE_OF_NEWS = 100
WATCH_S = 0.25


@dataclass
class History:
    """A whole history.

    Attributes:
        entries: All of them, 1 to the tail.
        events: All events in the order of their seq, each with the epoch that wrote it.
        collected: How many entries were gone from storage in the end.
    """

    entries: list[LogEntry]
    events: list[tuple[int, Event]]
    collected: int

    @property
    def epochs(self) -> list[int]:
        """Positions of the `open` entries."""
        return [entry.header.position for entry in self.entries if entry.header.kind == Kind.OPEN]

    def count(self, kind: Kind) -> int:
        """Return the number of entries of one kind."""
        return sum(entry.header.kind == kind for entry in self.entries)

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return what the documents are after the last event, by `$id`."""
        found: dict[str, dict[str, Any]] = {}
        for _, event in self.events:
            if event.document is None:
                found.pop(event.id, None)
            else:
                found[event.id] = event.document
        return {document["$id"]: document for document in found.values()}


class Bystander:
    """Reads the log of one namespace and takes no part in anything."""

    def __init__(self, settings: Settings, namespace: str) -> None:
        self._settings = settings
        self._namespace = namespace
        self._prefix = namespace_prefix(namespace)
        self._storage = open_backend(settings)
        self._seen: dict[int, LogEntry] = {}

    async def look(self, *, whole: bool = False) -> set[int]:
        """Read all entries not seen before; return the positions that are stored.

        Newer ones are listed first: unless the `whole` is wanted, it ends with the first page that holds no news.
        """
        stored: set[int] = set()
        after, more = None, True
        while more:
            page = await self._storage.list(self._prefix + "log/", after=after, limit=PAGE if whole else PAGE_OF_NEWS)
            positions = [position_of(info.key) for info in page.objects]
            stored.update(positions)
            news = [
                info.key for info, position in zip(page.objects, positions, strict=True) if position not in self._seen
            ]
            for start in range(0, len(news), 16):
                await asyncio.gather(*(self._read(key) for key in news[start : start + 16]))
            more = page.more and (whole or bool(news))
            after = page.objects[-1].key if page.objects else None
        return stored

    async def _read(self, key: str) -> None:
        try:
            data = await self._storage.read(key)
        except ObjectNotFoundError:
            return  # Collected meanwhile: if nobody has seen it before, the history has a hole and `history` says so.
        self._seen.setdefault(position_of(key), decode_entry(key, data))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look again and again while inside."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), f"the bystander stumbled: {task.exception()!r}"

    async def until_collected(self, position: int) -> None:
        """Return once an entry is gone from storage."""
        async with asyncio.timeout(60):
            while position in await self.look(whole=True):
                await asyncio.sleep(WATCH_S)

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except ParqueDBError as error:
                # Where the store itself is killed it looks again; what is damaged stays so.
                if not error.retryable:
                    raise
            await asyncio.sleep(WATCH_S)

    async def history(self) -> History:
        """Return the history once it is quiet, after checking that it is one line without gaps."""
        opener = Opener(
            self._storage, self._namespace, self._prefix, self._settings.engine, clock=SystemClock(), rng=Random(0)
        )
        chain = await opener.load()
        stored = await self.look(whole=True)
        unseen = [position for position in range(1, chain.tail + 1) if position not in self._seen]
        assert not unseen, f"entries nobody saw: {unseen[:20]} of {chain.tail}"
        entries = [self._seen[position] for position in range(1, chain.tail + 1)]
        check_line(entries)
        for entry in chain.entries:
            seen = self._seen[entry.header.position].header
            assert seen.commit_id == entry.header.commit_id, f"entry {seen.position} has changed"
        assert chain.next_seq == (entries[-1].next_seq if entries else 1)
        events = []
        for entry in entries:
            if entry.header.kind == Kind.WRITE:
                body, _ = decode_body(str(entry.header.position), entry.body)
                events += [(entry.header.epoch, event) for event in body]
        return History(entries, events, chain.tail - len(stored & set(range(1, chain.tail + 1))))

    async def close(self) -> None:
        """Let go of the store."""
        await self._storage.close()


async def read_history(settings: Settings, namespace: str) -> History:
    """Return the history of a namespace that is quiet and whose log is whole."""
    bystander = Bystander(settings, namespace)
    try:
        return await bystander.history()
    finally:
        await bystander.close()


def check_line(entries: Iterable[LogEntry]) -> None:
    """Check that entries follow each other, that seqs have no gap and that no request was applied twice."""
    previous, epoch, seq, incarnation = GENESIS, 0, 1, GENESIS
    requests: Counter[Any] = Counter()
    for position, entry in enumerate(entries, 1):
        header = entry.header
        assert is_successor(
            entry, incarnation=incarnation, previous=previous, position=position, epoch=epoch, seq=seq
        ), f"{header} does not follow position {position - 1}, epoch {epoch}, seq {seq}"
        if header.kind == Kind.WRITE:
            events, records = decode_body(str(position), entry.body)
            assert len(events) == header.count, f"{header} holds {len(events)} events"
            requests.update(
                record.request if isinstance(record.request, str) else tuple(record.request[:2])
                for record in records
                if record.request is not None
            )
        previous, epoch, seq, incarnation = header.commit_id, header.epoch, entry.next_seq, header.incarnation
    twice = [request for request, times in requests.items() if times > 1]
    assert not twice, f"requests applied twice: {twice[:10]}"


@dataclass
class Verdict:
    """What a check of attempts against a history counted."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unknown_applied: int = 0
    by_error: Counter[str] = field(default_factory=Counter)


def check_attempts(history: History, attempts: Iterable[Attempt]) -> Verdict:
    """Check that the history holds every acknowledged attempt once, no refused one, and an unknown one once or never.

    Each write put its own token into the documents it changed, so every event tells which attempt made it.
    """
    check_versions(history.events)
    made: dict[str, list[tuple[str, int]]] = {}
    for _, event in history.events:
        if event.document is not None and "token" in event.document:
            made.setdefault(event.document["token"], []).append((event.id, event.document["version"]))
    verdict = Verdict()
    for attempt in attempts:
        found = sorted(made.pop(attempt.token, []))
        if attempt.state is State.ACKNOWLEDGED:
            verdict.acknowledged += 1
            assert found == sorted(attempt.changed), f"acknowledged {attempt}, but the log says {found}"
        elif attempt.state is State.REFUSED:
            verdict.refused += 1
            assert not found, f"refused {attempt}, but the log says {found}"
        else:
            verdict.unknown += 1
            verdict.unknown_applied += bool(found)
            assert len(found) in {0, len(attempt.ids)}, f"unknown {attempt}, but the log says {found}"
        if attempt.error:
            verdict.by_error[attempt.error] += 1
    assert not made, f"events that nobody asked for: {list(made.items())[:5]}"
    return verdict


def check_versions(events: Iterable[tuple[int, Event]]) -> None:
    """Check that each document's versions are 1, 2, 3, ..."""
    versions: dict[str, int] = {}
    for _, event in events:
        if event.document is None:
            versions.pop(event.id, None)
            continue
        version = event.document["version"]
        assert version == versions.get(event.id, 0) + 1, f"{event.id}: {version} after {versions.get(event.id, 0)}"
        versions[event.id] = version
