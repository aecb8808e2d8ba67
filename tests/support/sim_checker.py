"""Judges a run of the simulated cluster by what really stands in the log, against a model of its own."""

from bisect import bisect_left
from itertools import repeat
from typing import Any

from parquedb import errors
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.storage.log.entry import position_of
from parquedb.storage.log.manifest import decode_manifest
from tests.support.sim_calls import Op
from tests.support.sim_history import PREFIX, History
from tests.support.sim_hosts import Host
from tests.support.sim_model import Refused, apply
from tests.support.sim_read_checker import ReadChecker
from tests.support.sim_world import World

_JUDGED = (
    errors.VersionConflictError,
    errors.AlreadyExistsError,
    errors.EntityNotFoundError,
    errors.ValidationError,
    errors.SchemaMismatchError,
)
"""Refusals of writes that must have been right at some moment."""

_DOCUMENT = frozenset({"create", "update", "replace", "restore"})
"""Writes that are answered with the document."""


class Checker:
    """Finds what must not be."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.history = History(world)
        told = sorted((op.end_s, op.outcome.seq) for op in world.ops if op.result == "ok" and op.outcome is not None)
        self._damaged = [key.removeprefix(PREFIX) for key in world.store.damaged]
        self._ends = [end_s for end_s, _ in told]
        self._told: list[int] = []
        for _, seq in told:
            self._told.append(max(seq, self._told[-1] if self._told else 0))

    def check(self) -> list[str]:
        """Check everything that can be checked without another open; returns all violations of the run."""
        self._collected()
        reads = ReadChecker(self.world, self.history, self.span)
        for op in self.world.ops:
            if op.operation.is_write:
                self._write(op)
            else:
                reads.check(op)
        reads.check_feeds()
        reads.check_holds()
        return self.world.violations

    def fault(self, text: str) -> None:
        self.world.violate(text)

    def counts(self) -> dict[str, int]:
        """Return how often things happened that some runs are there for."""
        done = [op for op in self.world.ops if op.result == "ok"]
        many = ("update_many", "delete_many", "upsert")
        return {
            "loads": len(self.history.loaded),
            "writes by filter": sum(op.operation.kind in many and op.key in self.history.by_request for op in done),
            "schemas": self.history.models[-1].registered,
            "pages": sum(op.operation.kind == "find" and "cursor" in op.operation.options for op in done),
            "reads of the past": sum("as_of" in op.operation.options or op.operation.kind == "history" for op in done),
            "changes told": sum(len(follower.told) for follower in self.world.followers),
            "snapshots read": sum(len(hold.readings) for hold in self.world.holds),
            "corruption met": self.world.corruptions,
        }

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
        folded = [(time_s, base.through) for time_s, base in self.history.checkpoints]
        for key, time_s in store.deleted.items():
            position = self.history.loaded.get(key.removeprefix(PREFIX))
            if key.startswith(PREFIX + "log/"):
                self._collected_entry(position_of(key), time_s)
            elif time_s < needed_s.get(key, 0.0):
                self.fault(f"{key} was deleted at {time_s}, but stays until {needed_s[key]}")
            elif position is not None and not any(at_s <= time_s and position <= last for at_s, last in folded):
                self.fault(f"{key} was deleted at {time_s}, but entry {position} names it and no checkpoint folds that")
            for hold in self.world.holds:
                if key.removeprefix(PREFIX) in hold.keys and hold.holds(time_s):
                    self.fault(
                        f"{key} was deleted at {time_s}, but a snapshot held it from {hold.from_s} to {hold.until_s}"
                    )

    def _collected_entry(self, position: int, time_s: float) -> None:
        grace_s = self.world.settings.log_grace_s
        old = [base.through for landed_s, base in self.history.checkpoints if landed_s + grace_s <= time_s]
        if position in self.history.opens:
            self.fault(f"the fence at {position} was deleted")
        elif position > max(old, default=0):
            self.fault(f"entry {position} was deleted at {time_s} although no old checkpoint folds it")

    # -- what clients were told

    def span(self, op: Op) -> tuple[int, int]:
        """Return the first and the last seq that an answer may be as of.

        Never older than what anybody had been told before the question, never newer than the log at the answer.
        """
        index = bisect_left(self._ends, op.start_s)
        return self._told[index - 1] if index else 0, self.history.known_by(op.end_s)

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
            before, _ = self.span(op)
            if outcome.seq <= before:
                self.fault(f"{name} took seq {outcome.seq}, though {before} was known before")
            self._value(op, outcome, applied[1], name)
        elif op.result == "ok" or (op.result == "refused" and outcome is not None and outcome.error is not None):
            self._decided(op, outcome, name)

    def _value(self, op: Op, outcome: Outcome, seq: int, name: str) -> None:
        kind, value = op.operation.kind, outcome.value
        if kind in _DOCUMENT:
            document = self.history.at(op.operation.id or "", seq)
            # A late answer to a retry may have kept no more than what names the document.
            part = outcome.duplicate and document and value.items() <= document.items()
            if value != document and not part:
                self.fault(f"{name} was answered {value!r} instead of {document!r}")
        elif kind == "register":
            if value["seq"] != seq or value["schema"] != op.operation.body["schema"]:
                self.fault(f"{name} was answered {value!r} for the registration at seq {seq}")
        elif not _answers(op.expected, value):
            self.fault(f"{name} was answered {value!r} instead of {op.expected!r}")

    def _decided(self, op: Op, outcome: Outcome | None, name: str) -> None:
        """An answer without an event must be right at some moment between question and answer."""
        error = None if outcome is None else outcome.error
        if error is not None and not isinstance(error, _JUDGED):
            return
        if isinstance(error, errors.InvalidInputError) and any(key in error.message for key in self._damaged):
            return
        first, last = self.span(op)
        for seq in range(first, last + 1):
            try:
                changes, expected = apply(op.operation, self.history.models[seq], repeat("?"))
            except Refused as refusal:
                actual = error.actual if isinstance(error, errors.VersionConflictError) else None
                if type(error).__name__ in refusal.names and actual == refusal.actual:
                    return
                continue
            if error is None and not changes and (outcome is None or _answers(expected, outcome.value)):
                return
        said = f"done, with no event, and {outcome and outcome.value!r}" if error is None else repr(error)
        self.fault(f"{name} was answered {said}, which was true at no moment between question and answer")

    # -- at the end

    async def check_final(self, host: Host) -> None:
        """Compare what a fresh owner says with the log."""
        engine = host.engine
        if engine is None or engine.state != "open":
            return
        truth = self.history.documents[-1]
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
        everything = {"include_deleted": True, "limit": 1000}
        [found] = await engine.execute([Operation("find", options=everything, timeout_s=60)])
        if found.error is not None or found.value["items"] != [truth[id_] for id_ in sorted(truth)]:
            self.fault(f"at the end a query returns other documents: {found.error!r}")


def _answers(expected: Any, value: Any) -> bool:
    """Whether an answer is as expected, as far as that is known."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(value.get(name) == one for name, one in expected.items())
    return expected is None or value == expected
