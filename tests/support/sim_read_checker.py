"""Judges what readers of the simulated cluster were told: the present, the past, pages, feeds and snapshots."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from parquedb import errors
from parquedb.actors.requests.operations import Outcome
from tests.support.sim_calls import Op
from tests.support.sim_history import Document, History
from tests.support.sim_model import passes
from tests.support.sim_plans import NAMESPACE
from tests.support.sim_world import World

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReadChecker:
    """See the module.

    Args:
        world: The run.
        history: What really happened in it.
        span: Returns the first and the last seq that an answer may be as of.
    """

    def __init__(self, world: World, history: History, span: Callable[[Op], tuple[int, int]]) -> None:
        self.world = world
        self.history = history
        self._span = span

    def fault(self, text: str) -> None:
        self.world.violate(text)

    def check(self, op: Op) -> None:
        """Judge one read."""
        outcome, operation = op.outcome, op.operation
        if outcome is None or op.result == "running":
            return
        name = f"op {op.number} ({operation.kind} {operation.id}, {operation.options})"
        if op.result == "refused" and outcome.error is not None:
            self._refused(op, outcome.error, name)
        if op.result != "ok":
            return
        if operation.kind == "changes":
            self._changes(op, outcome, name)
        elif operation.kind == "history":
            self._document_history(op, outcome, name)
        elif "as_of" in operation.options:
            self._as_of(op, outcome, name)
        else:
            self._present(op, outcome, name)

    # -- the present

    def _present(self, op: Op, outcome: Outcome, name: str) -> None:
        seq = outcome.value["seq"] if op.operation.kind == "snapshot" else outcome.seq
        first, last = self._span(op)
        if seq < first:
            self.fault(f"{name} saw seq {seq}, though {first} was known before")
        if seq > last:
            self.fault(f"{name} saw seq {seq} before it was in the log")
        else:
            self._value(op, outcome.value, seq, name)

    def _value(self, op: Op, value: Any, seq: int, name: str) -> None:
        """Compare an answer with what there was after a seq."""
        operation = op.operation
        if operation.kind == "get":
            document = self.history.at(operation.id or "", seq)
            expected = None if document is None or "deletedAt" in document else document
            if value != expected:
                self.fault(f"{name} returned {value!r} instead of {expected!r} at seq {seq}")
        elif operation.kind == "count":
            matching = self._matching(operation.options, seq)
            if value != len(matching):
                self.fault(f"{name} counted {value} instead of {len(matching)} at seq {seq}")
        elif operation.kind == "find":
            self._page(op, value, seq, name)

    def _page(self, op: Op, value: dict[str, Any], seq: int, name: str) -> None:
        """A page holds the first documents behind the last one of the page before, as they are at its own moment."""
        options = op.operation.options
        matching = self._matching(options, seq)
        order, limit = _order(options.get("sort")), options.get("limit", 100)
        matching.sort(key=order)
        if op.expected is not None:
            matching = matching[bisect_right([order(one) for one in matching], order(op.expected)) :]
        if value["items"] != matching[:limit]:
            ids = [[one["$id"] for one in some] for some in (value["items"], matching[:limit])]
            self.fault(f"{name} found {ids[0]} instead of {ids[1]} at seq {seq}, or their content differs")
        if (value["next_cursor"] is not None) != (len(matching) > limit):
            self.fault(f"{name}: {len(matching)} documents follow, a page has {limit}, the cursor says otherwise")

    def _matching(self, options: Any, seq: int) -> list[Document]:
        filter_ = options.get("filter", {})
        return [
            document
            for id_, document in sorted(self.history.documents[seq].items())
            if "deletedAt" not in document and passes(filter_, id_, document["n"])
        ]

    # -- the past

    def _as_of(self, op: Op, outcome: Outcome, name: str) -> None:
        as_of, seq = op.operation.options["as_of"], outcome.seq
        first, last = self._span(op)
        if isinstance(as_of, int):
            least = most = as_of
        else:
            newest = self._seq_at(as_of)
            least, most = min(first, newest), min(last, newest)
        if not least <= seq <= most or seq > last:
            self.fault(f"{name} was answered as of seq {seq}; expected {least} to {most}, of {last} at the time")
        else:
            self._value(op, outcome.value, seq, name)

    def _seq_at(self, time: datetime) -> int:
        """Return the last seq with a log time up to a time."""
        time_us = (time - _EPOCH) // timedelta(microseconds=1)
        return bisect_right([event.time_us for event in self.history.events], time_us)

    def _changes(self, op: Op, outcome: Outcome, name: str) -> None:
        told = outcome.value["changes"]
        after = op.operation.options["after"]
        first, last = self._span(op)
        if not told and after < first:
            self.fault(f"{name} was told of no changes, though {first} was known before")
        self._same(told, [event.wire() for event in self.history.events[after:last]][: len(told)], name)
        if len(told) > op.operation.options["limit"]:
            self.fault(f"{name} was told of {len(told)} changes")

    def _document_history(self, op: Op, outcome: Outcome, name: str) -> None:
        options, value = op.operation.options, outcome.value
        first, last = self._span(op)
        told, floor = value["changes"], value["oldest"]
        mine = [one for one in self.history.events if one.id == op.operation.id and one.seq > options["after"]]
        kept = [one for one in mine if one.seq >= floor]
        self._same(told, [one.wire() for one in kept if one.seq <= last][: len(told)], name)
        known = sum(one.seq <= first for one in kept)
        if not value["more"] and len(told) < known:
            self.fault(f"{name} was told of {len(told)} events, though {known} were known before")
        if floor > 1 and not self._gone(floor - 1, op):
            self.fault(f"{name} says that events before {floor} are gone, too early")
        # A document that was removed and created anew is a new one.
        begun = bool(told) and told[0][2] == "create"
        if len(mine) > len(kept) and not value["cut"] and not begun:
            self.fault(f"{name} does not say that events before {floor} are missing")

    def _same(self, told: Sequence[Any], true: Sequence[Any], name: str) -> None:
        if list(told) != list(true):
            differ = next((pair for pair in zip(told, true, strict=False) if pair[0] != pair[1]), None)
            self.fault(f"{name} was told of {len(told)} changes that are not the ones that happened: {differ}")

    def _gone(self, seq: int, op: Op) -> bool:
        """Whether the event at a seq was older, when an operation ended, than what has to be kept."""
        if not 0 < seq <= self._span(op)[1]:
            return False
        window_us = self.world.settings.history_window_s * 1_000_000
        return self.history.events[seq - 1].time_us + window_us <= self.history.log_time_by(op.end_s)

    def _refused(self, op: Op, error: errors.ParqueDBError, name: str) -> None:
        options = op.operation.options
        first, _ = self._span(op)
        wanted = options.get("as_of", options.get("after"))
        if isinstance(error, errors.ValidationError):
            if isinstance(wanted, int) and wanted <= first:
                self.fault(f"{name} was refused with {error!r}, though {first} was known before")
        elif isinstance(error, errors.SnapshotNotFoundError | errors.EventNotFoundError):
            seq = wanted if isinstance(wanted, int) else self._seq_at(wanted)
            # The first event that would be needed is gone; if it may go, so may all before it. Of a time it has to be
            # known which event was the last.
            if not self._gone(seq + 1, op) and (isinstance(wanted, int) or not self._gone(seq, op)):
                self.fault(f"{name} was refused with {error!r}, too early")

    # -- who goes on and on

    def check_feeds(self) -> None:
        """Every follower was told everything once, in order, whatever owners there were."""
        for follower in self.world.followers:
            told = follower.told
            start = told[0][0] - 1 if told else 0
            self._same(told, [event.wire() for event in self.history.events[start : start + len(told)]], "a follower")

    def check_holds(self) -> None:
        """Every reading of a snapshot shows the same documents, to its end."""
        for hold in self.world.holds:
            truth = self.history.documents[hold.seq] if hold.seq <= self.history.last_seq else {}
            expected = [truth[id_] for id_ in sorted(truth)]
            for start_s, found in hold.readings:
                if found != expected:
                    ids = [one["$id"] for one in found]
                    self.fault(f"a snapshot of seq {hold.seq} read at {start_s} shows {ids} or other content")


def _order(sort: str | None) -> Callable[[Document], tuple[Any, ...]]:
    """Return what documents are ordered by."""
    id_at = len(NAMESPACE) + 1
    if sort is None:
        return lambda document: (document["$id"][id_at:],)
    sign = -1 if sort.startswith("-") else 1
    return lambda document: (sign * document["n"], document["$id"][id_at:])
