"""What each client session was answered, so that a retry gets the same answer and is never applied twice.

A client numbers its requests 1, 2, 3, ... and says with each the lowest number (`low`) it still waits for. The owner
keeps the outcomes from `low` on, and a floor below which whole sessions have been forgotten (rules 24 and 25).
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from parquedb.actors.requests.operations import SessionRequest
from parquedb.actors.state.whole_answers import WholeAnswers, holds_documents, shortened
from parquedb.documents.budget import size_of
from parquedb.errors import BackpressureError, OutcomeUnknownError
from parquedb.storage.log.events import Created, Joined

SNAPSHOT_BYTES_MAX: Final = 1 << 20
"""Whole answers that a manifest keeps, estimated bytes over all sessions; the rest keep id and version only."""

_DOCUMENT_BYTES: Final = 512
_WINDOW_RETRY_S: Final = 0.05


@dataclass(slots=True, weakref_slot=True)
class Receipt:
    """How an applied request was answered.

    Attributes:
        kind: The operation's kind.
        seq: Its last seq.
        value: The answer; for a document whose text was not kept, only its `$id` and `version`.
        thin: Whether `value` is such a shortened document.
        size: Bytes of `value`, estimated; 0 where nobody has.
    """

    kind: str
    seq: int
    value: Any
    thin: bool = False
    size: int = field(default=0, compare=False)

    def thin_out(self) -> None:
        """Keep of documents only what names them."""
        self.value, self.thin, self.size = shortened(self.value), True, 0

    def note_in(self, whole: WholeAnswers) -> None:
        """Count the documents it holds, if it does."""
        if holds_documents(self.value):
            whole.add(self, self.size or size_of(self.value))


@dataclass(slots=True)
class _Session:
    low: int
    born: int
    last_position: int
    last_us: int
    receipts: dict[int, Receipt] = field(default_factory=dict)
    joined: list["_JoinedReceipts"] = field(default_factory=list)

    def all_receipts(self) -> list[tuple[int, Receipt]]:
        """Return every receipt from `low` on with its number, ascending."""
        made = [(seq, run.receipt(seq)) for run in self.joined for seq in run.numbers if seq >= self.low]
        known = [(seq, receipt) for seq, receipt in made if receipt is not None]
        return sorted([*self.receipts.items(), *known], key=lambda pair: pair[0])

    def receipt(self, seq: int) -> Receipt | None:
        """Return what a request was answered, if it is known."""
        found = self.receipts.get(seq)
        made = (run.receipt(seq) for run in self.joined if seq in run.numbers)
        return found or next((receipt for receipt in made if receipt is not None), None)


@dataclass(slots=True, weakref_slot=True)
class _JoinedReceipts:
    """Receipts of what was decided as one, made when somebody asks; thinned out, they know ids and versions alone.

    Attributes:
        numbers: From the first request's on; updates that were refused leave holes.
        first_seq: Seq of the first event.
        kind: Of all the requests.
        made: Numbers of those that were not refused, ascending, counted from the first.
        events: What happened, or what names the documents.
    """

    numbers: range
    first_seq: int
    kind: str
    made: Sequence[int]
    events: Joined | list[dict[str, Any]]

    @classmethod
    def of(cls, first: SessionRequest, events: Joined, first_seq: int) -> "_JoinedReceipts":
        numbers = range(first.seq, first.seq + events.numbers[-1] + 1)
        return cls(numbers, first_seq, events.kind, events.numbers, events)

    def receipt(self, seq: int) -> Receipt | None:
        number = seq - self.numbers.start
        at = bisect_left(self.made, number)
        if at == len(self.made) or self.made[at] != number:
            return None
        if isinstance(self.events, list):
            return Receipt(self.kind, self.first_seq + at, self.events[at], thin=True)
        return Receipt(self.kind, self.first_seq + at, self.events.document(at))

    def thin_out(self) -> None:
        """Let go of the documents."""
        if isinstance(self.events, Created):
            self.events = [{"$id": self.events.prefix + id_, "version": 1} for id_ in self.events.ids]
        elif not isinstance(self.events, list):
            self.events = shortened(self.events.documents)


class Sessions:
    """The session table of one namespace.

    Args:
        window: How far beyond `low` a session may go (requests).
        sessions_max: Sessions kept.
        idle_us: A session silent for longer, in log time, may be forgotten.
        whole: Bounds the documents in the answers; None leaves them unbounded.

    Invariants:
        S1. A session holds no receipt below its `low`, but for those of one run with others that it holds.
        S2. Every forgotten session's last position is at most `floor`.
    """

    def __init__(self, window: int, sessions_max: int, idle_us: int, whole: WholeAnswers | None = None) -> None:
        self._whole = whole
        self._window = window
        self._sessions_max = sessions_max
        self._idle_us = idle_us
        self._table: OrderedDict[bytes, _Session] = OrderedDict()
        self.floor = 0

    def __len__(self) -> int:
        return len(self._table)

    def lookup(self, request: SessionRequest) -> Receipt | None:
        """Return the receipt of an applied request; None when it is new.

        Raises:
            OutcomeUnknownError: it may have been applied and forgotten; it must not be applied now.
            BackpressureError: it is too far ahead of what the client has settled.
        """
        session = self._table.get(request.session)
        if session is None:
            if request.born < self.floor:
                raise OutcomeUnknownError(
                    "the session is older than what this namespace remembers; the request may have been applied",
                    request_id=request_id(request),
                )
            return None
        low = max(session.low, request.low)
        if request.seq < low:
            raise OutcomeUnknownError(
                "its client gave this request up, so what came of it is no longer kept",
                request_id=request_id(request),
            )
        if request.seq >= low + self._window:
            raise BackpressureError(
                f"a session may have {self._window} requests under way; settle older ones first",
                retry_after=_WINDOW_RETRY_S,
            )
        return session.receipt(request.seq)

    def are_new(self, first: SessionRequest, count: int) -> bool:
        """Whether `count` requests with consecutive numbers are all certainly new, without saying why if not."""
        session = self._table.get(first.session)
        if session is None:
            return first.born >= self.floor
        low, end = max(session.low, first.low), first.seq + count
        return (
            low <= first.seq
            and end <= low + self._window
            and session.receipts.keys().isdisjoint(range(first.seq, end))
            and all(run.numbers.stop <= first.seq or end <= run.numbers.start for run in session.joined)
        )

    def record(self, request: SessionRequest, receipt: Receipt, position: int, log_us: int) -> None:
        """Remember what a request came to, as of the entry at `position`, made at log time `log_us`."""
        session = self._touched(request, position, log_us)
        if session is not None and request.seq >= session.low:
            session.receipts[request.seq] = receipt
            if self._whole is not None:
                receipt.note_in(self._whole)

    def record_joined(self, first: SessionRequest, events: Joined, first_seq: int, position: int, log_us: int) -> None:
        """Remember what was decided as one, whose first event has `first_seq`; `first` is the first request."""
        session = self._touched(first, position, log_us)
        if session is not None:
            run = _JoinedReceipts.of(first, events, first_seq)
            session.joined.append(run)
            if self._whole is not None:
                self._whole.add(run, events.bytes)

    def _touched(self, request: SessionRequest, position: int, log_us: int) -> _Session | None:
        """Return the session of a request that was applied; None if it has been forgotten."""
        session = self._table.get(request.session)
        if session is None:
            if request.born < self.floor:
                # Forgotten while this waited to be decided: back in the table, without its receipts, it would vouch
                # for requests that it no longer knows.
                return None
            session = self._table[request.session] = _Session(request.low, request.born, position, log_us)
        if request.low > session.low:
            self._drop_below(session, request.low)
        session.last_position, session.last_us = position, log_us
        self._table.move_to_end(request.session)
        self._forget(log_us)
        return session

    @staticmethod
    def _drop_below(session: _Session, low: int) -> None:
        receipts = session.receipts
        # Usually `low` moves by a few; never count through a gap that a caller made up.
        settled = range(session.low, low) if low - session.low <= len(receipts) else [s for s in receipts if s < low]
        for seq in settled:
            receipts.pop(seq, None)
        session.joined = [run for run in session.joined if run.numbers.stop > low]
        session.low = low

    def _forget(self, log_us: int) -> None:
        while self._table:
            oldest = next(iter(self._table.values()))
            if len(self._table) <= self._sessions_max and log_us - oldest.last_us <= self._idle_us:
                return
            self._table.popitem(last=False)
            self.floor = max(self.floor, oldest.last_position)

    def to_wire(self) -> Any:
        """Return plain data for the manifest; long answers beyond a budget are shortened, oldest first."""
        budget = SNAPSHOT_BYTES_MAX
        sessions = []
        for key, session in reversed(self._table.items()):
            receipts = []
            for seq, receipt in reversed(session.all_receipts()):
                value, thin = receipt.value, receipt.thin
                cost = _DOCUMENT_BYTES if isinstance(value, dict) else _cost(value)
                budget -= cost
                if budget < 0 and isinstance(value, dict) and "$id" in value:
                    value, thin = shortened(value), True
                receipts.append([seq, receipt.kind, receipt.seq, value, thin])
            sessions.append([key, session.low, session.born, session.last_position, session.last_us, receipts[::-1]])
        return {"floor": self.floor, "sessions": sessions[::-1]}

    def restore(self, wire: Any) -> None:
        """Become what `to_wire` described."""
        self.floor = wire["floor"]
        self._table = OrderedDict(
            (key, _Session(low, born, position, us, {r[0]: Receipt(*r[1:]) for r in receipts}))
            for key, low, born, position, us, receipts in wire["sessions"]
        )


def request_id(request: SessionRequest) -> str:
    """Return a session request's id as text: in errors, in logs, and where a caller asks again by it."""
    return f"pqs-{request.session.hex()}-{request.seq}-{request.born}"


def _cost(value: Any) -> int:
    return _DOCUMENT_BYTES * len(value) if isinstance(value, list) else 16
