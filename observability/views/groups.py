"""Where a view lives: groups and one state, documents of a namespace of its own, which change together or not at all.

    state                     how far the source has been counted, and which generation of groups is the valid one
    <generation>.<digest>     one group of that generation

Every change of the groups is one atomic batch that also replaces the state at the version it was read at. Of two
processes that refresh one view at once, the second one's batch is therefore refused as a whole.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from parquedb.errors import ErrorCode, ParqueDBError, ViewError
from parquedb.observability.views.database import Collection, Row, delete_in_pages, each_page
from parquedb.steps import Steps

STATE_ID: Final = "state"
WRITE_GROUPS: Final = 500
"""Groups in one batch or one call."""

READS_MAX: Final = 5

_PAGE: Final = 1_000
_READ_AT_ONCE: Final = 10_000

Key = tuple[str, ...]
"""What the rows of a group have in common."""

A = TypeVar("A")


class Aggregation(Protocol[A]):
    """What a view makes of rows. Adding must not depend on order, and merging must equal adding the rows of both."""

    definition: str
    """What the groups mean. A stored view with another definition is refused."""

    def time(self, row: Row) -> datetime | None:
        """Return when the row's event was; None for a document that is no such row."""

    def key(self, row: Row) -> Key:
        """Return the group of a row."""

    def period(self, key: Key) -> datetime:
        """Return the start of the time that a group covers."""

    def start(self) -> A:
        """Return the aggregate of no rows."""

    def add(self, aggregate: A, row: Row) -> None:
        """Count a row."""

    def merge(self, aggregate: A, other: A) -> None:
        """Count the rows of another aggregate."""

    def encode(self, key: Key, aggregate: A) -> Row:
        """Return the document of a group."""

    def decode(self, document: Row) -> tuple[Key, A]:
        """Return the group of a document."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """How far a view is.

    Attributes:
        seq: Of the last change of the source that the groups hold.
        generation: Names the valid groups.
        definition: What they mean.
        floor: Rows before this time are not counted any more; what was counted of them stays.
        building: The generation that a rebuild is writing; empty when none is.
        retired: Generations to be deleted.
        refreshed_at: When the state was written.
        version: Of the state's document; 0 when there is none yet.
    """

    seq: int
    generation: str
    definition: str
    floor: datetime | None = None
    building: str = ""
    retired: tuple[str, ...] = ()
    refreshed_at: datetime | None = None
    version: int = 0

    def document(self) -> Row:
        """Return it as it is stored."""
        return {
            "seq": self.seq,
            # Not under the name by which groups are found.
            "valid": self.generation,
            "definition": self.definition,
            "floor": self.floor,
            "building": self.building,
            "retired": list(self.retired),
            "refreshed_at": datetime.now(UTC),
        }


class GroupStore(Generic[A]):
    """Reads and writes the documents of one view, by steps that either client carries out."""

    def __init__(self, documents: Collection, aggregation: Aggregation[A]) -> None:
        """Use the namespace of `documents` for this view alone."""
        self._documents = documents
        self._aggregation = aggregation

    def state(self) -> Steps[ViewState | None]:
        """Return how far the view is; None before its first refresh.

        Raises:
            ViewError: the namespace holds a view of another definition.
        """
        document = yield partial(self._documents.get, STATE_ID)
        return None if document is None else self._state(document)

    def _state(self, document: Row) -> ViewState:
        definition = self._aggregation.definition
        if document.get("definition") != definition:
            name, stored = self._documents.namespace, document.get("definition")
            raise ViewError(
                f"namespace {name!r} holds a view {stored!r}, expected {definition!r}: use another namespace"
            )
        return ViewState(
            seq=document["seq"],
            generation=document["valid"],
            definition=definition,
            floor=document["floor"],
            building=document["building"],
            retired=tuple(document["retired"]),
            refreshed_at=document["refreshed_at"],
            version=document["version"],
        )

    def create_state(self, state: ViewState) -> Steps[ViewState]:
        """Store the first state of a view.

        Raises:
            AlreadyExistsError: another process was quicker.
        """
        stored = yield partial(self._documents.create, state.document(), id=STATE_ID)
        return replace(state, version=stored["version"])

    def replace_state(self, state: ViewState) -> Steps[ViewState]:
        """Store a state in place of the one at its version.

        Raises:
            VersionConflictError: another process was quicker.
        """
        [stored] = yield partial(self._documents.batch, [self._replacement(state)])
        return replace(state, version=stored["version"])

    def add(self, state: ViewState, deltas: Mapping[Key, A]) -> Steps[tuple[ViewState, int, int]]:
        """Merge what new rows came to into the groups and store the state, all or nothing.

        Returns:
            The state as stored; documents read; documents written.

        Raises:
            VersionConflictError: another process was quicker.
        """
        ids = {self._id(state.generation, key): key for key in deltas}
        # The state comes first: whoever was overtaken shall hear of that, not of a group that is there already.
        operations = [self._replacement(state)]
        there: list[Row] = []
        wanted = {"$id": {"$in": [self._full(one) for one in ids]}}
        yield from each_page(self._documents, there.extend, wanted, limit=_PAGE)
        for document in there:
            id_ = document["$id"].removeprefix(self._full(""))
            key, aggregate = self._aggregation.decode(document)
            self._aggregation.merge(aggregate, deltas[key])
            data = self._document(state.generation, key, aggregate)
            operations.append({"op": "replace", "id": id_, "data": data, "expected_version": document["version"]})
            del ids[id_]
        for id_, key in ids.items():
            data = self._document(state.generation, key, deltas[key])
            operations.append({"op": "create", "id": id_, "data": data})
        stored, *_ = yield partial(self._documents.batch, operations)
        return replace(state, version=stored["version"]), len(there), len(operations)

    def write(self, generation: str, groups: Mapping[Key, A]) -> Steps[int]:
        """Store the groups of a generation that is being built; return how many."""
        documents = [
            {**self._document(generation, key, groups[key]), "$id": self._id(generation, key)} for key in groups
        ]
        for start in range(0, len(documents), WRITE_GROUPS):
            some = documents[start : start + WRITE_GROUPS]
            for answer in (yield partial(self._documents.create_many, some, ordered=False)):
                if isinstance(answer, ParqueDBError):
                    raise answer
        return len(documents)

    def read(self, generation: str, condition: Mapping[str, Any] | None = None) -> Steps[dict[Key, A]]:
        """Return the groups of a generation that match a filter."""
        found: dict[Key, A] = {}

        def decode(documents: list[Row]) -> None:
            found.update(map(self._aggregation.decode, documents))

        yield from each_page(self._documents, decode, {"generation": generation, **(condition or {})}, limit=_PAGE)
        return found

    def read_valid(
        self, condition: Mapping[str, Any] | None = None
    ) -> Steps[tuple[ViewState | None, list[tuple[Key, A]]]]:
        """Return the state and the groups that match a filter, all as of one moment.

        Raises:
            ViewError: there are more groups than fit into one answer, and the view changes faster than they are read.
        """
        # The generation is known only by the state; groups of another one are there only while a rebuild goes on.
        wanted = {"$or": [{"$id": self._full(STATE_ID)}, {"generation": {"$exists": True}, **(condition or {})}]}
        for _ in range(READS_MAX):
            before = yield from self.state()
            documents: list[Row] = []
            pages = yield from each_page(self._documents, documents.extend, wanted, limit=_READ_AT_ONCE)
            state = next((self._state(one) for one in documents if one["$id"] == self._full(STATE_ID)), None)
            # The state is on the last page, so it says nothing of what changed since the first one was read.
            if pages == 1 or state == before:
                valid = None if state is None else state.generation
                groups = [one for one in documents if one.get("generation", "") == valid]
                return state, [self._aggregation.decode(one) for one in groups]
        raise ViewError(
            f"the view {self._documents.namespace!r} changes faster than it can be read: narrow the time asked for",
            code=ErrorCode.VIEW_REFRESH_ERROR,
        )

    def delete(self, generations: Sequence[str]) -> Steps[None]:
        """Delete generations that are valid no more."""
        for generation in generations:
            yield from delete_in_pages(self._documents, {"generation": generation})

    def _document(self, generation: str, key: Key, aggregate: A) -> Row:
        document = self._aggregation.encode(key, aggregate)
        return {**document, "generation": generation, "period": self._aggregation.period(key)}

    def _replacement(self, state: ViewState) -> Row:
        return {"op": "replace", "id": STATE_ID, "data": state.document(), "expected_version": state.version}

    def _full(self, id_: str) -> str:
        return f"{self._documents.namespace}/{id_}"

    @staticmethod
    def _id(generation: str, key: Key) -> str:
        # Keys hold whatever callers name their models; lengths keep ("a", "bc") apart from ("ab", "c").
        text = "".join(f"{len(part)}:{part}" for part in key)
        return f"{generation}.{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def new_generation() -> str:
    """Return a name that no other generation has."""
    return secrets.token_hex(8)


def lost_race(namespace: str) -> ViewError:
    """Return the error of a refresh that another one overtook."""
    return ViewError(
        f"another process has refreshed the view {namespace!r} meanwhile", code=ErrorCode.VIEW_REFRESH_ERROR
    )
