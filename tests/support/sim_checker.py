"""Judges a run of the simulated cluster by what really stands in the log, against a model of its own."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from parquedb import errors
from parquedb.actors.operations import Operation, Outcome
from parquedb.storage.events import Event, decode_body
from parquedb.storage.keys import namespace_prefix
from parquedb.storage.log import GENESIS, BackPointer, Kind, decode_entry, entry_key, position_of
from parquedb.storage.manifest import decode_manifest
from tests.support.sim_world import NAMESPACE, Host, Op, World

PREFIX = namespace_prefix(NAMESPACE)
Documents = dict[str, dict[str, Any]]


class Refused(Exception):  # noqa: N818 - a verdict of the model, no fault
    """The model refuses an operation: name of the error, and the version it saw."""

    def __init__(self, name: str, actual: int | None = None) -> None:
        super().__init__(name)
        self.name, self.actual = name, actual


def apply(  # noqa: PLR0911, PLR0912 - the specification in one piece, to be read beside it
    operation: Operation, documents: Documents
) -> tuple[list[tuple[str, dict[str, Any] | None]], Any]:
    """Do an operation as the specification says, on bare (n, tag, version, deleted) documents.

    Returns:
        The changes in order (id, document or None), and the answer as far as it is compared.
    """
    kind, id_, body, options = operation.kind, operation.id or "", operation.body, operation.options
    if kind == "batch":
        local, changes = dict(documents), []
        for wire in body:
            made, _ = apply(Operation.from_wire(wire), local)
            changes += made
            for key, document in made:
                _set(local, key, document)
        return changes, None
    if kind == "create_many":
        return _create_many(operation, documents)
    found = documents.get(id_)
    if kind == "create":
        if found is not None:
            raise Refused("AlreadyExistsError")
        return [(id_, {"n": body["n"], "tag": body["tag"], "version": 1, "deleted": False})], None
    shown = found if kind == "restore" or options.get("hard") or not (found and found["deleted"]) else None
    expected, actual = options.get("expected_version"), None if shown is None else shown["version"]
    if expected is not None and expected != actual:
        raise Refused("VersionConflictError", actual)
    if shown is None:
        if kind == "delete":
            return [], 0
        raise Refused("EntityNotFoundError")
    if kind == "delete" and options.get("hard"):
        return [(id_, None)], 1
    if kind == "restore" and not shown["deleted"]:
        return [], None
    changed = {**shown, "version": shown["version"] + 1}
    if kind == "update":
        changed["n"] += body["$inc"]["n"]
        changed["tag"] = body["$set"]["tag"]
    elif kind == "replace":
        changed |= {"n": body["n"], "tag": body["tag"]}
    else:
        changed["deleted"] = kind == "delete"
    return [(id_, changed)], 1 if kind == "delete" else None


def _create_many(operation: Operation, documents: Documents) -> tuple[list[Any], Any]:
    local, changes = dict(documents), []
    for body in operation.body:
        id_ = body["$id"].removeprefix(f"{NAMESPACE}/")
        try:
            made, _ = apply(Operation("create", id_, body), local)
        except Refused:
            if operation.options.get("ordered"):
                break
            continue
        changes += made
        for key, document in made:
            _set(local, key, document)
    return changes, None


def _set(documents: Documents, id_: str, document: dict[str, Any] | None) -> None:
    if document is None:
        documents.pop(id_, None)
    else:
        documents[id_] = document


def bare(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what the model knows of a stored document."""
    if document is None:
        return None
    return {
        "n": document["n"],
        "tag": document["tag"],
        "version": document["version"],
        "deleted": "deletedAt" in document,
    }


@dataclass
class History:
    """The true chain, and the state after every seq."""

    last_seq: int = 0
    by_request: dict[Any, tuple[int, int]] = field(default_factory=dict)
    states: dict[str, tuple[list[int], list[dict[str, Any] | None]]] = field(default_factory=dict)
    landed: list[tuple[float, int]] = field(default_factory=list)
    """When each entry came to be, and the last seq then."""
    checkpoints: list[tuple[float, BackPointer]] = field(default_factory=list)
    """When each checkpoint came to be, and what it points to."""
    opens: set[int] = field(default_factory=set)

    def at(self, id_: str, seq: int) -> dict[str, Any] | None:
        seqs, documents = self.states.get(id_, ([], []))
        index = bisect_right(seqs, seq)
        return documents[index - 1] if index else None

    def documents_at(self, seq: int) -> dict[str, dict[str, Any]]:
        found = {id_: self.at(id_, seq) for id_ in self.states}
        return {id_: document for id_, document in found.items() if document is not None}

    def known_by(self, time_s: float) -> int:
        index = bisect_right(self.landed, (time_s, 1 << 60))
        return self.landed[index - 1][1] if index else 0


class Checker:
    """Finds what must not be."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.history = History()

    def check(self) -> list[str]:
        """Check everything that can be checked without another open; returns all violations of the run."""
        self._chain()
        self._acknowledged_by_time()
        self._collected()
        for op in self.world.ops:
            if op.operation.is_write:
                self._write(op)
            if op.result == "ok" and not op.operation.is_write:
                self._read(op)
        return self.world.violations

    def fault(self, text: str) -> None:
        self.world.violate(text)

    # -- the chain

    def _chain(self) -> None:
        first = self.world.store.first
        previous, epoch, seq, position = GENESIS, 0, 1, 0
        by_key = {op.key: op for op in self.world.ops if op.operation.is_write}
        documents: Documents = {}
        while (made := first.get(PREFIX + entry_key(position + 1))) is not None:
            position += 1
            entry = decode_entry(made.key, made.data)
            header = entry.header
            expected_epoch = position if header.kind == Kind.OPEN else epoch
            if (header.previous, header.epoch, header.first_seq) != (previous, expected_epoch, seq):
                self.fault(f"entry {position} does not follow entry {position - 1}")
            previous, epoch = header.commit_id, header.epoch
            if header.kind == Kind.WRITE:
                self._entry(made.key, entry.body, seq, by_key, documents)
            elif header.kind == Kind.CHECKPOINT and header.base is not None:
                self.history.checkpoints.append((made.time_s, header.base))
            elif header.kind == Kind.OPEN:
                self.history.opens.add(position)
            seq = entry.next_seq
            self.history.landed.append((made.time_s, seq - 1))
        self.history.last_seq = seq - 1
        logged = sum(1 for key in first if key.startswith(PREFIX + "log/"))
        if logged != position:
            self.fault(f"{logged} log positions were created, but the chain ends at {position}")
        self.history.landed = [(time_s, last) for time_s, last in self.history.landed]

    def _entry(self, key: str, body: bytes, seq: int, by_key: dict[Any, Op], documents: Documents) -> None:
        events, records = decode_body(key, body)
        covered = 0
        for record in records:
            request = tuple(record.request[:2]) if isinstance(record.request, list) else record.request
            op = by_key.get(request)
            if op is None:
                self.fault(f"{key} holds a request that nobody made: {request}")
                continue
            if request in self.history.by_request:
                self.fault(f"op {op.number} ({op.operation.kind}) was applied twice")
            mine = events[record.first_event : record.first_event + record.events]
            covered += len(mine)
            first = seq + record.first_event
            self.history.by_request[request] = (first, first + len(mine) - 1)
            self._effect(op, mine, documents)
            for number, event in enumerate(mine):
                self._store(event, first + number, documents)
        if covered != len(events):
            self.fault(f"{key} holds {len(events)} events, its requests account for {covered}")

    def _effect(self, op: Op, events: list[Event], documents: Documents) -> None:
        if op.operation.kind == "create" and op.operation.id is None and events:
            op.operation = replace(op.operation, id=events[0].id)
        try:
            expected, _ = apply(op.operation, documents)
        except Refused as refusal:
            self.fault(f"op {op.number} ({op.operation.kind}) was applied where it had to be refused: {refusal}")
            return
        actual = [(event.id, bare(event.document)) for event in events]
        if actual != expected:
            self.fault(f"op {op.number} ({op.operation.kind}) made {actual} instead of {expected}")

    def _store(self, event: Event, seq: int, documents: Documents) -> None:
        seqs, states = self.history.states.setdefault(event.id, ([], []))
        seqs.append(seq)
        states.append(event.document)
        _set(documents, event.id, bare(event.document))

    # -- what was deleted

    def _collected(self) -> None:
        """Whatever a checkpoint refers to stays until its successor is older than the grace."""
        store, settings = self.world.store, self.world.settings
        needed_s: dict[str, float] = {}
        landed = [time_s for time_s, _ in self.history.checkpoints]
        for (_, base), until_s in zip(self.history.checkpoints, [*landed[1:], float("inf")], strict=False):
            stored = store.first.get(PREFIX + base.manifest)
            if stored is None:
                self.fault(f"a checkpoint landed whose manifest {base.manifest} was never stored")
                continue
            manifest = decode_manifest(base.manifest, stored.data)
            for key in (base.manifest, *manifest.objects):
                needed_s[PREFIX + key] = until_s + settings.snapshot_grace_s
        for key, time_s in store.deleted.items():
            if key.startswith(PREFIX + "log/"):
                self._collected_entry(position_of(key), time_s)
            elif time_s < needed_s.get(key, 0.0):
                self.fault(f"{key} was deleted at {time_s}, but stays until {needed_s[key]}")

    def _collected_entry(self, position: int, time_s: float) -> None:
        grace_s = self.world.settings.log_grace_s
        old = [base.through for landed_s, base in self.history.checkpoints if landed_s + grace_s <= time_s]
        if position in self.history.opens:
            self.fault(f"the fence at {position} was deleted")
        elif position > max(old, default=0):
            self.fault(f"entry {position} was deleted at {time_s} although no old checkpoint folds it")

    # -- what clients were told

    def _acknowledged_by_time(self) -> None:
        told = sorted(
            (op.end_s, op.outcome.seq) for op in self.world.ops if op.result == "ok" and op.outcome is not None
        )
        self._ends = [end_s for end_s, _ in told]
        self._told: list[int] = []
        for _, seq in told:
            self._told.append(max(seq, self._told[-1] if self._told else 0))

    def _seen_before(self, time_s: float) -> int:
        """The highest seq that anybody had been told of before `time_s`."""
        index = bisect_left(self._ends, time_s)
        return self._told[index - 1] if index else 0

    def _write(self, op: Op) -> None:
        applied = self.history.by_request.get(op.key)
        name = f"op {op.number} ({op.operation.kind} {op.operation.id}, {op.key})"
        if op.result == "refused" and applied is not None:
            self.fault(f"{name} was refused but is in the log at seq {applied}")
        outcome = op.outcome
        if op.result == "ok" and outcome is not None and applied is not None:
            if op.uncertain and not outcome.duplicate and outcome.seq < applied[0]:
                # It had nothing to do when it was answered; a second delivery found something later.
                self._decided(op, outcome, name)
                return
            if outcome.seq != applied[1]:
                self.fault(f"{name} was acknowledged with seq {outcome.seq} but stands at {applied[1]}")
            if outcome.seq <= self._seen_before(op.start_s):
                self.fault(f"{name} took seq {outcome.seq}, though {self._seen_before(op.start_s)} was known before")
            self._value(op, outcome, name)
        elif op.result == "ok" or (op.result == "refused" and outcome is not None and outcome.error is not None):
            self._decided(op, outcome, name)

    def _value(self, op: Op, outcome: Outcome, name: str) -> None:
        kind, value = op.operation.kind, outcome.value
        if kind == "delete":
            if value != 1:
                self.fault(f"{name} was answered {value!r} although it deleted")
        elif kind in ("create", "update", "replace", "restore"):
            document = self.history.at(op.operation.id or "", outcome.seq)
            # A late answer to a retry may have kept no more than what names the document.
            part = outcome.duplicate and document and value.items() <= document.items()
            if value != document and not part:
                self.fault(f"{name} was answered {value!r} instead of {document!r}")

    def _decided(self, op: Op, outcome: Outcome | None, name: str) -> None:
        """An answer without an event must be right at some moment between question and answer."""
        error = None if outcome is None else outcome.error
        if error is not None and not isinstance(
            error, errors.VersionConflictError | errors.AlreadyExistsError | errors.EntityNotFoundError
        ):
            return
        for seq in range(self._seen_before(op.start_s), self.history.known_by(op.end_s) + 1):
            documents = {
                id_: one for id_, document in self.history.documents_at(seq).items() if (one := bare(document))
            }
            try:
                changes, _ = apply(op.operation, documents)
            except Refused as refusal:
                if type(error).__name__ == refusal.name and getattr(error, "actual", None) == refusal.actual:
                    return
                continue
            if error is None and not changes:
                return
        said = "done, with no event" if error is None else repr(error)
        self.fault(f"{name} was answered {said}, which was true at no moment between question and answer")

    def _read(self, op: Op) -> None:
        outcome, operation = op.outcome, op.operation
        assert outcome is not None
        name = f"op {op.number} ({operation.kind} {operation.id})"
        if outcome.seq < self._seen_before(op.start_s):
            self.fault(f"{name} saw seq {outcome.seq}, though {self._seen_before(op.start_s)} was known before")
        if outcome.seq > self.history.known_by(op.end_s):
            self.fault(f"{name} saw seq {outcome.seq} before it was in the log")
        if operation.kind == "get":
            document = self.history.at(operation.id or "", outcome.seq)
            expected = None if document is None or "deletedAt" in document else document
            if outcome.value != expected:
                self.fault(f"{name} returned {outcome.value!r} instead of {expected!r} at seq {outcome.seq}")
            return
        matching = self._matching(operation, outcome.seq)
        if operation.kind == "count":
            if outcome.value != len(matching):
                self.fault(f"{name} counted {outcome.value} instead of {len(matching)} at seq {outcome.seq}")
        elif outcome.value["items"] != matching[:100]:
            self.fault(f"{name} found other documents than there were at seq {outcome.seq}")

    def _matching(self, operation: Operation, seq: int) -> list[dict[str, Any]]:
        least = operation.options.get("filter", {}).get("n", {}).get("$gte", -(10**9))
        return [
            document
            for _, document in sorted(self.history.documents_at(seq).items())
            if "deletedAt" not in document and document["n"] >= least
        ]

    # -- at the end

    async def check_final(self, host: Host) -> None:
        """Compare what a fresh owner says with the log."""
        engine = host.engine
        if engine is None or engine.state != "open":
            return
        truth = self.history.documents_at(self.history.last_seq)
        ids = sorted({*truth, "never-there"})
        gets = await engine.execute(
            [Operation("get", id_, options={"include_deleted": True}, timeout_s=60) for id_ in ids]
        )
        for id_, outcome in zip(ids, gets, strict=True):
            if outcome.error is not None:
                self.fault(f"at the end {id_} cannot be read: {outcome.error!r}")
            elif outcome.value != truth.get(id_):
                self.fault(f"at the end {id_} is {outcome.value!r} instead of {truth.get(id_)!r}")
            elif outcome.seq != self.history.last_seq:
                self.fault(f"at the end seq is {outcome.seq} instead of {self.history.last_seq}")
        [found] = await engine.execute([Operation("find", options={"include_deleted": True}, timeout_s=60)])
        if found.error is not None or found.value["items"] != [truth[id_] for id_ in sorted(truth)][:100]:
            self.fault(f"at the end a query returns other documents: {found.error!r}")
