"""More bugs to plant: into loads, snapshots, the past, writes by filter, and whatever checks what was read."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import xxhash
from pyroaring import BitMap

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.folding import history_fold
from parquedb.actors.folding.checkpoint import Checkpointer
from parquedb.actors.loads import bulk
from parquedb.actors.loads.new_ids import NewIds
from parquedb.actors.reads import past
from parquedb.actors.reads.reader import Reader
from parquedb.actors.reads.snapshots import Pins
from parquedb.actors.state.document_cache import DocumentCache
from parquedb.actors.state.namespace_state import NamespaceState
from parquedb.actors.state.request_ids import RequestIds
from parquedb.actors.state.sessions import Sessions
from parquedb.actors.writes.many import Many
from parquedb.actors.writes.schemas import SchemaState
from parquedb.actors.writes.writer import Writer
from parquedb.storage.files import object_cache
from parquedb.storage.files.data_files import IndexNotLoaded
from parquedb.storage.history.source import HistorySource
from parquedb.storage.log import chain, collection, commit, opening
from parquedb.storage.log import entry as log
from tests.support.planted_bugs import BUGS, bug
from tests.support.virtual_loop import SimClock

__all__ = ["BUGS"]


# -- loads


@bug
def ids_of_a_load_are_not_looked_at_again_at_its_commit(patch: pytest.MonkeyPatch) -> None:
    original = NewIds.check

    async def check(self: Any) -> None:
        patch.setattr(self, "hold", lambda: True, raising=False)
        await original(self)

    patch.setattr(NewIds, "check", check)


@bug
def a_load_passes_by_what_a_merge_made_meanwhile(patch: pytest.MonkeyPatch) -> None:
    def hold(self: Any) -> bool:
        state, seq = self._state, self._checked_seq
        if state.next_seq == seq:
            return True
        if any(file.seq_last >= seq for file in self._not_compared()):
            return False
        recent = [id_ for id_ in self._in_memory() if self._seq_of(id_) >= seq]
        try:
            return all(self._fresh.locate_now(id_) is None for id_ in recent)
        except IndexNotLoaded:
            return False

    patch.setattr(NewIds, "hold", hold)


@bug
def terms_of_another_epoch_are_accepted(patch: pytest.MonkeyPatch) -> None:
    def check(self: Any, load: Any) -> None:
        if load.schema != self._state.schemas.registered.number:
            raise bulk._stale("a schema was registered meanwhile")

    original = bulk.Load.from_wire

    def from_wire(wire: Any) -> Any:
        # The clocks of owners differ: what one of them made may be from the other's future.
        return bulk.replace(original(wire), at=SimClock.START - timedelta(days=1))

    patch.setattr(bulk.Load, "from_wire", from_wire)
    patch.setattr(bulk.BulkLoads, "_check_terms", check)


@bug
def terms_of_another_schema_are_accepted(patch: pytest.MonkeyPatch) -> None:
    def check(self: Any, load: Any) -> None:
        if load.epoch != self._state.epoch:
            raise bulk._stale("its files belong to another owner of the namespace")

    patch.setattr(bulk.BulkLoads, "_check_terms", check)


@bug
def a_load_is_applied_again_when_it_is_retried(patch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        def __init__(self, writer: Any) -> None:
            self._writer = writer

        def recall(self, write: Any) -> None:
            return None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._writer, name)

    original = bulk.BulkLoads.__init__

    def init(self: Any, *positional: Any, **named: Any) -> None:
        original(self, *positional, **named)
        self._writer = Forgetful(self._writer)

    patch.setattr(bulk.BulkLoads, "__init__", init)


@bug
def an_owner_forgets_the_request_of_a_load(patch: pytest.MonkeyPatch) -> None:
    original = NamespaceState.load

    def load(self: Any, loaded: Any, entry: Any) -> None:
        original(self, bulk.replace(loaded, records=()), entry)

    patch.setattr(NamespaceState, "load", load)


# -- snapshots


@bug
def pins_are_ignored_by_the_collection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pins, "keys", lambda self: frozenset())


# -- writes by filter


@bug
def documents_changed_since_the_query_are_not_tested_again(patch: pytest.MonkeyPatch) -> None:
    def matching(self: Any, work: Any, found: Any, branch: Any, draft: Any) -> list[str]:
        ids = [id_ for id_ in found.ids if branch.current(id_) is not None]
        return ids[:1] if work.only_first else ids

    patch.setattr(Many, "_matching", matching)


@bug
def what_came_to_match_since_the_query_is_left_out(patch: pytest.MonkeyPatch) -> None:
    def matching(self: Any, work: Any, found: Any, branch: Any, draft: Any) -> list[str]:
        known = ((id_, branch.current(id_)) for id_ in found.ids)
        ids = [id_ for id_, document in known if document is not None and work.predicate(document)]
        return ids[:1] if work.only_first else ids

    patch.setattr(Many, "_matching", matching)


# -- the past


@bug
def a_feed_skips_what_a_flush_hands_over(patch: pytest.MonkeyPatch) -> None:
    original = history_fold.history.flushed
    patch.setattr(history_fold.history, "flushed", lambda kept, tails: original(kept, tails[:-1]))


@bug
def a_feed_tells_twice_what_a_flush_hands_over(patch: pytest.MonkeyPatch) -> None:
    original = history_fold.history.flushed
    patch.setattr(history_fold.history, "flushed", lambda kept, tails: original(kept, (*tails, *tails[-1:])))


@bug
def a_feed_leaves_out_what_was_loaded(patch: pytest.MonkeyPatch) -> None:
    original = HistorySource.events

    async def events(self: Any, entries: Any, start: int, stop: int) -> Any:
        async for found in original(self, [one for one in entries if one.header.kind == log.Kind.WRITE], start, stop):
            yield found

    patch.setattr(HistorySource, "events", events)


@bug
def the_past_shows_rows_that_came_later(patch: pytest.MonkeyPatch) -> None:
    async def none(files: Any, file: Any, seq: int) -> BitMap:
        return BitMap()

    patch.setattr(past, "_later_rows", none)


# -- what was read


def _unchecked(patch: pytest.MonkeyPatch, module: Any) -> None:
    """Let every checksum that a module looks at be as expected."""

    class Blind:
        """Digests that are equal to everything."""

        def __getattr__(self, name: str) -> Any:
            original = getattr(xxhash, name)
            return lambda data: _Equal(original(data))

    patch.setattr(module, "xxhash", Blind())


class _Equal(int):
    """A number that no other differs from."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


@bug
def checksums_of_data_files_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    _unchecked(patch, object_cache)


@bug
def a_log_entry_that_was_cut_or_altered_is_taken_for_good(patch: pytest.MonkeyPatch) -> None:
    original = log.decode_entry

    def decode(key: str, data: bytes) -> Any:
        # With the checksum that it ought to have.
        content = bytes(data)[: -log._CHECKSUM_BYTES]
        return original(key, content + xxhash.xxh3_128_digest(content))

    for module in (log, chain, commit, opening):
        if hasattr(module, "decode_entry"):
            patch.setattr(module, "decode_entry", decode)


# -- what is kept in memory, and when


@bug
def request_ids_are_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestIds, "load", lambda self, key, segment: None)


@bug
def a_forgotten_session_may_come_back(patch: pytest.MonkeyPatch) -> None:
    """As if it were new (rule 25)."""
    original = Sessions._forget

    def forget(self: Any, log_us: int) -> None:
        original(self, log_us)
        self.floor = 0

    patch.setattr(Sessions, "_forget", forget)


@bug
def schemas_are_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchemaState, "restore", lambda self, wire: None)


@bug
def a_cache_is_kept_across_epochs(patch: pytest.MonkeyPatch) -> None:
    original = NamespaceEngine.__init__

    def init(self: Any, namespace: str, storage: Any, *positional: Any, **named: Any) -> None:
        original(self, namespace, storage, *positional, **named)
        kept = storage.store.__dict__.setdefault("kept", {})
        self._data.cache = kept.setdefault(storage.process.name[:2], self._data.cache)

    patch.setattr(NamespaceEngine, "__init__", init)


@bug
def a_changed_document_stays_in_the_cache(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DocumentCache, "forget", lambda self, id_: None)


@bug
def a_read_waits_between_looking_and_saying_when(patch: pytest.MonkeyPatch) -> None:
    original: Callable[..., Awaitable[Any]] = Reader.documents

    async def documents(self: Any, ids: Iterable[str]) -> Any:
        found = await original(self, ids)
        await asyncio.sleep(0.02)
        return found

    patch.setattr(Reader, "documents", documents)


@bug
def a_group_is_decided_while_the_one_before_is_on_its_way(patch: pytest.MonkeyPatch) -> None:
    """Something awaits between the check and the change."""
    form, commit = Writer._form, Writer._commit_group

    def next_group(self: Any) -> Any:
        early = self.__dict__.pop("early", None)
        return form(self) if early is None else early

    async def commit_group(self: Any, group: Any) -> None:
        committing = asyncio.ensure_future(commit(self, group))
        await asyncio.sleep(0.001)
        if not committing.done() and len(self._queue):
            self.early = form(self)
        await committing
        if "early" in self.__dict__ and not self._stopped:
            await commit(self, self.__dict__.pop("early"))

    patch.setattr(Writer, "_form", next_group)
    patch.setattr(Writer, "_commit_group", commit_group)


@bug
def a_collected_name_is_used_again(patch: pytest.MonkeyPatch) -> None:
    original = Checkpointer._name

    def name(self: Any, folder: str, suffix: str = "") -> str:
        store, prefix = self._committer._storage.store, f"{self._state.prefix}{folder}/{self._state.epoch}-"
        gone = [key for key in store.deleted if key.startswith(prefix) and key not in store.objects]
        return original(self, folder, suffix) if not gone else str(gone[-1].removeprefix(self._state.prefix))

    patch.setattr(Checkpointer, "_name", name)


@bug
def one_page_of_a_listing_is_taken_for_all(patch: pytest.MonkeyPatch) -> None:
    async def listed(storage: Any, prefix: str) -> Any:
        pages = [await storage.list(f"{prefix}{folder}/") for folder in collection.FOLDERS]
        objects = [replace(info, key=info.key.removeprefix(prefix)) for page in pages for info in page.objects]
        return collection.Listing(tuple(objects), min(page.server_s for page in pages))

    patch.setattr(collection, "list_namespace", listed)
