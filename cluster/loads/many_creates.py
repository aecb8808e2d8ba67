"""`create_many` of many documents: made into a data file here, if all is well with them; else in calls to the owner.

Whoever repeats a call under its request id gets the first one's answer, whichever way that went and this one would go:
the id of the file's load and those of the calls are derived from it, and the owner is asked about all of them.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import xxhash

from parquedb.actors.loads.load import Load, Terms
from parquedb.actors.requests.operations import Operation, Request
from parquedb.cluster.loads.bulk import CHUNK_DOCS_MAX, Created, chunks
from parquedb.cluster.loads.bulk_steps import (
    Applied,
    Ask,
    Steps,
    direct_steps,
    new_request,
    part_of,
    store_on,
    ulid_under,
    unknown_of,
)
from parquedb.cluster.loads.direct_storage import DirectStorage
from parquedb.errors import AlreadyExistsError, InvalidInputError, OutcomeUnknownError, ParqueDBError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.bulk.documents import UnusualError, documents_as_rows, ids_of

DOCS_MIN: Final = 4_000
"""Fewer documents are sent to the owner: a file of their own would not be worth it."""

DOCS_MAX: Final = 1 << 18
"""Documents of one file; more take several, one after the other."""

Documents = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ManyCreates:
    """A `create_many` of at least `DOCS_MIN` documents.

    Attributes:
        direct: The way to the store; None where there is none, and no owner is asked about files either.
        namespace: Whose documents they are.
        ordered: See `Collection.create_many`.
        actor: The same.
        limit_s: Seconds for each call, and for each file with everything that belongs to it.
    """

    direct: DirectStorage | None
    namespace: str
    ordered: bool
    actor: str | None
    limit_s: float

    def steps(self, docs: Documents, request_id: Request | None) -> Steps[list[str | ParqueDBError]]:
        """Create the documents; return what `Collection.create_many` does."""
        self._calls([], request_id)
        request = request_id or (new_request() if self.direct is not None and self.direct.usable else None)
        created = Created(ordered=self.ordered)
        try:
            for number, start in enumerate(range(0, len(docs), DOCS_MAX)):
                part, own = docs[start : start + DOCS_MAX], part_of(request, number)
                ids = None if own is None else (yield from self._as_file(part, own))
                if ids is not None:
                    created.items += ids
                    continue
                for operation in self._calls(part, own):
                    outcome = yield Ask(operation, self.limit_s)
                    if not created.add(outcome.value, len(operation.body)):
                        return created.finish(len(docs))
        except OutcomeUnknownError as error:
            raise unknown_of(error, request, "some of the documents") from error
        return created.finish(len(docs))

    def _calls(self, docs: Documents, request: Request | None) -> list[Operation] | Iterator[Operation]:
        found = chunks(self.namespace, docs, ordered=self.ordered, actor=self.actor, request_id=request)
        # Of none there is one, which is made at once: so are arguments of a wrong kind refused before anything is sent.
        return found if docs else list(found)

    def _as_file(self, docs: Documents, request: Request) -> Steps[list[str] | None]:
        """Create documents all together; return their `$id`s, or None where they have to be sent to the owner."""
        direct, ids = self.direct, list[str]()
        if direct is None:
            return None

        async def stored(storage: StorageBackend, terms: Terms) -> Load:
            store, first = store_on(storage, terms), ulid_under(terms)
            plan = terms.plan(self.namespace, actor=self.actor, id_column="$id", strict=True)
            rows = await store.run(partial(documents_as_rows, docs, plan, first))
            # Its ids are made into text while the file is written.
            work = store.run(lambda: _with_namespace(self.namespace, rows.ids.to_pylist()))
            stored, ids[:] = await asyncio.gather(store.store(rows, plan), work)
            fresh = not any("$id" in document for document in docs)
            return terms.load(stored, fresh=fresh, answer={"first": f"{first:x}", "ids": _digest(ids)})

        calls = range(-(-len(docs) // CHUNK_DOCS_MAX)) if isinstance(request, str) else ()
        requests = [request, *(f"{request}/{number}" for number in calls)]
        options = {"method": "create_many", "actor": self.actor}
        deadline_s = time.monotonic() + self.limit_s
        try:
            applied = yield from direct_steps(direct, requests, options, deadline_s, stored)
        except (UnusualError, AlreadyExistsError):
            return None
        if applied is None or applied.which:
            return None
        return _answered(applied, self.namespace, docs, ids)


def _answered(applied: Applied, namespace: str, docs: Documents, ids: list[str]) -> list[str]:
    """Return the ids of the documents that a load has stored; `ids` are those of this call, if it got so far."""
    digest = applied.answer.get("ids")
    if _digest(ids) != digest:
        # An earlier call's; what that one was given must have been the same.
        try:
            ids = _with_namespace(namespace, ids_of(docs, namespace, int(applied.answer["first"], 16)).to_pylist())
        except (UnusualError, KeyError):
            ids = []
    if _digest(ids) != digest:
        raise InvalidInputError("request_id: it was used already, by a call with other documents", field="request_id")
    return ids


def _with_namespace(namespace: str, ids: Sequence[str]) -> list[str]:
    return [f"{namespace}/{id_}" for id_ in ids]


def _digest(ids: Sequence[str]) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join(ids).encode())
