"""What really happened in a run: the chain of first creations, and the namespace after every seq of it."""

import io
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
from msgspec.structs import replace

from parquedb.storage.bulk.load_entry import Bulk, decode_bulk
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log.entry import GENESIS, BackPointer, Kind, decode_entry, entry_key
from parquedb.storage.log.events import Action, RequestRecord, decode_body
from tests.support.sim_calls import Op
from tests.support.sim_model import SCHEMA_WIRES, Change, Model, Refused, apply, bare
from tests.support.sim_plans import NAMESPACE
from tests.support.sim_world import World

PREFIX = namespace_prefix(NAMESPACE)
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Happened:
    """One event, as a feed tells it.

    Attributes:
        seq: Its number.
        time_us: Log time of its entry.
        action: In words.
        id: Bare id of the document; empty for a schema.
        document: Afterwards.
    """

    seq: int
    time_us: int
    action: str
    id: str
    document: Document | None

    def wire(self) -> list[Any]:
        return [self.seq, self.time_us, self.action, self.id, self.document]


class History:
    """The true chain, and the state after every seq. Building it finds what is wrong with the chain itself."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.models = [Model()]
        """The namespace after each seq, as the model knows it."""
        self.documents: list[dict[str, Document]] = [{}]
        """The documents after each seq as they are stored, by bare id."""
        self.events: list[Happened] = []
        self.by_request: dict[Any, tuple[int, int]] = {}
        self.landed: list[tuple[float, int]] = []
        """When each entry came to be, and the last seq then."""
        self.log_times_us: list[int] = []
        """Log time of each entry."""
        self.checkpoints: list[tuple[float, BackPointer]] = []
        """When each checkpoint came to be, and what it points to."""
        self.opens: set[int] = set()
        self.loaded: dict[str, int] = {}
        """Files that bulk entries name, and the position of the entry."""
        self._by_key = {op.key: op for op in world.ops if op.operation.is_write}
        self._build()

    @property
    def last_seq(self) -> int:
        return len(self.events)

    def at(self, id_: str, seq: int) -> Document | None:
        """Return what a document was after a seq, soft-deleted or not."""
        return self.documents[seq].get(id_)

    def known_by(self, time_s: float) -> int:
        """Return the last seq that was in the log at a time."""
        index = bisect_right(self.landed, (time_s, 1 << 60))
        return self.landed[index - 1][1] if index else 0

    def log_time_by(self, time_s: float) -> int:
        """Return the log time of the last entry that was there at a time; 0 for none."""
        index = bisect_right(self.landed, (time_s, 1 << 60))
        return self.log_times_us[index - 1] if index else 0

    def fault(self, text: str) -> None:
        self._world.violate(text)

    def _build(self) -> None:
        first = self._world.store.first
        previous, epoch, position = GENESIS, 0, 0
        while (made := first.get(PREFIX + entry_key(position + 1))) is not None:
            position += 1
            entry = decode_entry(made.key, made.data)
            header, seq = entry.header, self.last_seq + 1
            expected_epoch = position if header.kind == Kind.OPEN else epoch
            if (header.previous, header.epoch, header.first_seq) != (previous, expected_epoch, seq):
                self.fault(f"entry {position} does not follow entry {position - 1}")
            previous, epoch = header.commit_id, header.epoch
            if header.kind == Kind.WRITE:
                body, records = decode_body(made.key, entry.body)
                told = [(Action(event.action).name.lower(), event.id, event.document) for event in body]
                self._entry(made.key, told, records, header.log_time_us)
            elif header.kind == Kind.BULK:
                bulk = decode_bulk(made.key, entry.body)
                self.loaded |= {file.key: position for file in bulk.files}
                self._entry(made.key, self._rows(bulk), bulk.records, header.log_time_us)
            elif header.kind == Kind.CHECKPOINT and header.base is not None:
                self.checkpoints.append((made.time_s, header.base))
            elif header.kind == Kind.OPEN:
                self.opens.add(position)
            if entry.next_seq != self.last_seq + 1:
                self.fault(f"entry {position} says {entry.next_seq} comes next, but holds events to {self.last_seq}")
            self.landed.append((made.time_s, self.last_seq))
            self.log_times_us.append(header.log_time_us)
        logged = sum(1 for key in first if key.startswith(PREFIX + "log/"))
        if logged != position:
            self.fault(f"{logged} log positions were created, but the chain ends at {position}")

    def _entry(
        self,
        key: str,
        events: Sequence[tuple[str, str, Document | None]],
        records: Sequence[RequestRecord],
        time_us: int,
    ) -> None:
        start = self.last_seq + 1
        covered = 0
        for record in sorted(records, key=lambda one: one.first_event):
            request = tuple(record.request[:2]) if isinstance(record.request, list) else record.request
            op = self._by_key.get(request)
            if op is None:
                self.fault(f"{key} holds a request that nobody made: {request}")
                continue
            if request in self.by_request:
                self.fault(f"op {op.number} ({op.operation.kind}) was applied twice")
            mine = events[record.first_event : record.first_event + record.events]
            covered += len(mine)
            self.by_request[request] = (start + record.first_event, start + record.first_event + len(mine) - 1)
            self._effect(op, mine)
            for action, id_, document in mine:
                self._happened(Happened(self.last_seq + 1, time_us, action, id_, document))
        if covered != len(events):
            self.fault(f"{key} holds {len(events)} events, its requests account for {covered}")

    def _effect(self, op: Op, events: Sequence[tuple[str, str, Document | None]]) -> None:
        """Compare what an operation did with what it has to do."""
        ids = [id_ for _, id_, _ in events]
        if op.operation.kind == "create" and op.operation.id is None and events:
            op.operation = replace(op.operation, id=ids[0])
        try:
            expected, op.expected = apply(op.operation, self.models[-1], iter(ids))
        except (Refused, StopIteration) as refusal:
            self.fault(f"op {op.number} ({op.operation.kind}) was applied where it had to be refused: {refusal!r}")
            return
        actual = [_change(*event) for event in events]
        if actual != expected:
            self.fault(f"op {op.number} ({op.operation.kind}) made {actual} instead of {expected}")

    def _happened(self, event: Happened) -> None:
        self.events.append(event)
        model, documents = self.models[-1].copy(), dict(self.documents[-1])
        change = _change(event.action, event.id, event.document)
        if event.action == "schema" and change[1] is not None:
            model.schema, model.registered = change[1]["schema"], model.registered + 1
        else:
            model.set([change])
            if event.document is None:
                documents.pop(event.id, None)
            else:
                documents[event.id] = event.document
        self.models.append(model)
        self.documents.append(documents)

    def _rows(self, bulk: Bulk) -> list[tuple[str, str, Document | None]]:
        """Return the documents of a bulk load, read from its files without any code of ours."""
        rows: list[tuple[str, str, Document | None]] = []
        for file in bulk.files:
            made = self._world.store.first.get(PREFIX + file.key)
            if made is None:
                self.fault(f"a load landed whose file {file.key} was never stored")
                continue
            for row in pq.read_table(io.BytesIO(made.data)).to_pylist():
                rest = json.loads(row.pop("$residual") or "{}")
                document = {**{name: value for name, value in row.items() if value is not None}, **rest}
                rows.append(("create", document["$id"].removeprefix(f"{NAMESPACE}/"), document))
        return rows


def _change(action: str, id_: str, document: Document | None) -> Change:
    if action == "schema" and document is not None:
        return id_, {"schema": SCHEMA_WIRES.index(document["schema"]) + 1}
    return id_, bare(document)
