"""Request ids that a client makes by itself: sessions, their window, and the text form a caller may retry with.

A session is one client's stream of numbered requests to one namespace (rules 24 and 25 of the commit protocol, see
`docs/architecture.md`). Every request tells the owner `low`, the lowest number whose outcome the client still waits
for, so the owner remembers a bounded number of outcomes however long the session lives.
"""

import os
import re
import threading
import time
from collections.abc import Callable

from parquedb.actors.requests.operations import Request, SessionRequest
from parquedb.actors.state.sessions import request_id
from parquedb.errors import BackpressureError

SESSIONS_MAX = 256
_REQUEST_ID = re.compile(r"pqs-([0-9a-f]{32})-([1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})")


def request_id_text(request: Request) -> str:
    """Return a request id as the text that errors carry and `request_id=` takes."""
    return request if isinstance(request, str) else request_id(request)


def parse_request_id(text: str) -> Request:
    """Return the session request this text names, or the text itself: a caller's own id."""
    match = _REQUEST_ID.fullmatch(text)
    if match is None:
        return text
    # The owner keeps the highest `low` it saw; 1 never raises it.
    return SessionRequest(bytes.fromhex(match[1]), int(match[2]), 1, int(match[3]))


class Session:
    """One numbered stream of requests.

    Invariants:
        I1. `low` is the lowest number in `unsettled`, or `next` when nothing is.
        I2. `next - low` never exceeds the window.
    """

    __slots__ = ("born", "id", "low", "next", "unsettled", "used_s")

    def __init__(self, id_: bytes, born: int, now_s: float) -> None:
        self.id = id_
        self.born = born
        self.next = 1
        self.low = 1
        self.unsettled: set[int] = set()
        self.used_s = now_s

    def request(self) -> SessionRequest:
        """Number one more request."""
        seq = self.next
        self.next = seq + 1
        self.unsettled.add(seq)
        return SessionRequest(self.id, seq, self.low, self.born)

    def settle(self, seq: int) -> None:
        """Note that nobody waits for `seq` any more."""
        self.unsettled.discard(seq)
        low, end = self.low, self.next
        while low < end and low not in self.unsettled:
            low += 1
        self.low = low


class SessionPool:
    """The sessions of one client with one namespace; another opens when the window of all is full.

    Safe to share between threads.
    """

    def __init__(
        self,
        *,
        window: int = 256,
        idle_s: float = 300.0,
        born_s: float = 60.0,
        now: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Make a pool without sessions.

        Args:
            window: Requests of one session that may be unsettled at once (count).
            idle_s: Seconds without a request after which a session is given up; half of what the owner allows.
            born_s: Seconds for which a learned log position may start new sessions.
            now: Monotonic seconds.
            random_bytes: Where session ids come from.
        """
        self._window = window
        self._idle_s = idle_s
        self._born_s = born_s
        self._now = now
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._sessions: dict[bytes, Session] = {}
        self._current: Session | None = None
        self._tail: int | None = None
        self._learned_s = 0.0

    def learn(self, tail: int) -> None:
        """Take note of the log position the owner just told."""
        with self._lock:
            self._tail = tail
            self._learned_s = self._now()

    def take(self) -> SessionRequest | None:
        """Return a new request id; None when a session must start first and the log position is unknown or old.

        Raises:
            BackpressureError: too many requests are unsettled already.
        """
        now_s = self._now()
        with self._lock:
            session = self._current
            if session is None or not self._usable(session, now_s):
                session = self._another(now_s)
                if session is None:
                    return None
            session.used_s = now_s
            return session.request()

    def settle(self, request: Request) -> None:
        """Note that nobody waits for this request any more: a late packet of it must not apply."""
        if isinstance(request, tuple):
            with self._lock:
                session = self._sessions.get(request.session)
                if session is not None:
                    session.settle(request.seq)

    def park(self, request: Request) -> None:
        """Keep this request alive for a retry by its text: its session numbers no others, so `low` stays below it."""
        if isinstance(request, tuple):
            with self._lock:
                session = self._sessions.pop(request.session, None)
                if session is not None and session is self._current:
                    self._current = None

    def _usable(self, session: Session, now_s: float) -> bool:
        return session.next - session.low < self._window and now_s - session.used_s < self._idle_s

    def _another(self, now_s: float) -> Session | None:
        for session in self._sessions.values():
            if self._usable(session, now_s):
                self._current = session
                return session
        for session in list(self._sessions.values()):
            if now_s - session.used_s >= self._idle_s:
                del self._sessions[session.id]
        if len(self._sessions) >= SESSIONS_MAX:
            raise BackpressureError(
                f"{SESSIONS_MAX * self._window} writes of this client are under way", retry_after=1.0
            )
        if self._tail is None or now_s - self._learned_s > self._born_s:
            return None
        session = Session(self._random_bytes(16), self._tail, now_s)
        self._sessions[session.id] = self._current = session
        return session
