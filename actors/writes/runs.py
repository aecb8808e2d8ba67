"""Writes of one session that left its client together and are queued, decided and answered as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from parquedb.actors.requests.operations import Outcome, SessionRequest
from parquedb.actors.writes.calls import Member, PendingKey, Waiter, Write


@dataclass(slots=True, eq=False)
class Run(Write):
    """Writes on their way; what a kind of them has to add is `own`, and how they are decided.

    Attributes:
        first: Request of the first one; the others' numbers follow it.
        late: Callers of retries, with the index of the write they wait for.
    """

    first: SessionRequest = field(kw_only=True)
    late: list[tuple[Waiter, int, int]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Requests in it."""
        return self.count

    @property
    def awaited(self) -> bool:
        """Whether anybody still waits for one of them."""
        return bool(self.waiters or self.late)

    def index(self, key: PendingKey) -> int:
        """Return which of its writes a request id names; -1 for none."""
        if isinstance(key, str) or key[0] != self.first.session:
            return -1
        at = key[1] - self.first.seq
        return at if 0 <= at < self.length else -1

    @property
    def keys(self) -> Sequence[PendingKey]:
        """What retries of its writes are recognized by."""
        return [(self.first.session, self.first.seq + at) for at in range(self.length)]

    def overlaps(self, other: "Run") -> bool:
        """Whether some request is in both."""
        mine, others = self.first, other.first
        return (
            mine.session == others.session
            and mine.seq < others.seq + other.length
            and others.seq < mine.seq + self.length
        )

    def join(self, retry: Write) -> Member:
        """Let those who sent a retry of one of its writes wait for that one."""
        at = self.index(retry.keys[0])
        self.late.extend((call, place, at) for call, place in retry.waiters)
        return Member(self)

    def leave(self, call: Waiter, place: int) -> None:
        """Forget a caller whose time is up."""
        self.waiters = [waiter for waiter in self.waiters if waiter != (call, place)]
        self.late = [late for late in self.late if late[:2] != (call, place)]

    def finish(self, outcome: Outcome) -> None:
        """Answer everybody who still waits; who sent a retry gets the answer to that one."""
        late, self.late = self.late, []
        super(Run, self).finish(outcome)
        for call, place, at in late:
            call.settle(place, outcome if outcome.error is not None else self.own(outcome, at))

    def own(self, outcome: Outcome, at: int) -> Outcome:
        """Return what the outcome of all, which is no error, says of one."""
        own: Outcome = outcome.value[at]
        return own
