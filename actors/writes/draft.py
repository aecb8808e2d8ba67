"""The state that a group of writes is building, before anything of it is committed."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from parquedb.actors.writes.schemas import DraftSchemas, schema_event
from parquedb.schemas.registered import Registered, Version
from parquedb.storage.log.events import Action, Created, Event, Joined, Updated

Document = dict[str, Any]


class Draft:
    """The state that a group of writes is building: committed documents below, the group's changes above.

    Args:
        committed: Returns the committed document of a bare id, None if there is none; may raise to say that it must be
            loaded first.
        now: The log time of the group.
        new_ids: Makes so many ids for documents that come without one, ascending.
        schemas: What documents are held to; None for nothing.
        first_seq: That its first change will take.

    Attributes:
        events: The changes, in the order of their seq.
        count: How many they are.
    """

    def __init__(
        self,
        committed: Callable[[str], Document | None],
        now: datetime,
        new_ids: Callable[[int], list[str]],
        schemas: DraftSchemas | None = None,
        first_seq: int = 1,
    ) -> None:
        self._committed = committed
        self._overlay: dict[str, Document | None] = {}
        self.now = now
        self.new_ids = new_ids
        self.schemas = schemas or DraftSchemas(Registered())
        self.events: list[Event | Joined] = []
        self.count = 0
        self._first_seq = first_seq

    @property
    def next_seq(self) -> int:
        """The seq that the next change will take."""
        return self._first_seq + self.count

    def current(self, id_: str) -> Document | None:
        """Return the newest state of a document."""
        if id_ in self._overlay:
            return self._overlay[id_]
        return self._committed(id_)

    def touched(self) -> list[str]:
        """Return the ids of documents that `add` has changed."""
        return list(self._overlay)

    def created(self) -> list[Created]:
        """Return the documents that `add_created` has added."""
        return [event for event in self.events if isinstance(event, Created)]

    def add(self, action: Action, id_: str, document: Document | None, encoded: bytes | None = None) -> None:
        """Make one change; what the schema says is missing from the document is put into it.

        Args:
            action: What happens.
            id_: Bare id.
            document: The whole document afterwards.
            encoded: The same as `documents.codec` writes it, where that is known.

        Raises:
            ValidationError: the document is not what the schema asks for.
        """
        schemas = self.schemas
        if schemas.registered.guard is not None:
            schemas.hold(action, id_, document)
            encoded = None
        self.events.append(Event(action.value, id_, document, encoded))
        self.count += 1
        self._overlay[id_] = document

    def add_created(self, created: Created) -> None:
        """Add documents under fresh ids, which nothing in the same group can know.

        The schema is not asked: whoever calls this has done so (see `schemas.decide_run`).
        """
        self.events.append(created)
        self.count += len(created)

    def add_updated(self, updated: Updated) -> None:
        """Add updates decided in one go; whoever calls this has asked the schema (see `UpdateRun.decide`)."""
        self.events.append(updated)
        self.count += len(updated)
        self._overlay.update(zip(updated.ids, updated.documents, strict=True))

    def register(self, version: Version) -> None:
        """Put a schema in force for everything that follows."""
        self.events.append(schema_event(version))
        self.count += 1
        self.schemas.registered = self.schemas.registered.extended(version)

    def branch(self) -> "Draft":
        """Return a draft on top of this one, to be merged whole or thrown away."""
        return Draft(self.current, self.now, self.new_ids, self.schemas.branch(), self.next_seq)

    def merge(self, branch: "Draft") -> None:
        """Take over everything a branch changed."""
        self.events.extend(branch.events)
        self.count += branch.count
        self.schemas.merge(branch.schemas)
        self._overlay.update(branch._overlay)
