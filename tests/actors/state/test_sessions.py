"""The session table: every request at most once, whatever order its packets come in (rules 24 and 25)."""

import pytest

from parquedb.actors.requests.operations import SessionRequest
from parquedb.actors.state.sessions import SNAPSHOT_BYTES_MAX, Receipt, Sessions
from parquedb.documents.codec import decode, encode
from parquedb.errors import BackpressureError, OutcomeUnknownError

ONE, TWO = b"1" * 16, b"2" * 16


def ask(seq: int, low: int = 1, session: bytes = ONE, born: int = 0) -> SessionRequest:
    return SessionRequest(session, seq, low, born)


def receipt(seq: int) -> Receipt:
    return Receipt("create", seq, {"$id": f"posts/{seq}", "version": 1, "n": seq})


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(window=4, sessions_max=2, idle_us=100)


def test_requests_arrive_in_any_order_and_each_is_found_again(sessions: Sessions) -> None:
    for seq in (3, 1, 2):
        assert sessions.lookup(ask(seq)) is None
        sessions.record(ask(seq), receipt(seq), position=seq, log_us=1)
    for seq in (1, 2, 3):
        assert sessions.lookup(ask(seq)) == receipt(seq)


def test_what_the_client_gave_up_is_dead(sessions: Sessions) -> None:
    sessions.record(ask(3, low=3), receipt(3), 1, 1)
    for seq in (1, 2):
        with pytest.raises(OutcomeUnknownError, match="gave this request up") as caught:
            sessions.lookup(ask(seq))
        assert caught.value.request_id == f"pqs-{ONE.hex()}-{seq}-0"
    assert sessions.lookup(ask(3)) == receipt(3)


def test_receipts_below_low_are_dropped(sessions: Sessions) -> None:
    for seq in (1, 2, 3):
        sessions.record(ask(seq, low=max(1, seq - 1)), receipt(seq), seq, 1)
    [wire] = sessions.to_wire()["sessions"]
    assert [kept[0] for kept in wire[-1]] == [2, 3]


def test_the_window_is_bounded(sessions: Sessions) -> None:
    sessions.record(ask(1), receipt(1), 1, 1)
    assert sessions.lookup(ask(4)) is None
    with pytest.raises(BackpressureError, match="4 requests under way"):
        sessions.lookup(ask(5))
    assert sessions.lookup(ask(5, low=2)) is None


def test_a_forgotten_session_is_refused_and_a_younger_one_is_not(sessions: Sessions) -> None:
    sessions.record(ask(1, born=3), receipt(1), position=7, log_us=1)
    sessions.record(ask(1, session=TWO, born=7), receipt(1), position=9, log_us=102)
    assert (len(sessions), sessions.floor) == (1, 7)
    with pytest.raises(OutcomeUnknownError, match="older than what this namespace remembers"):
        sessions.lookup(ask(2, born=3))
    assert sessions.lookup(ask(1, session=b"3" * 16, born=7)) is None


def test_a_session_forgotten_while_its_request_waited_stays_forgotten(sessions: Sessions) -> None:
    sessions.record(ask(1, born=3), receipt(1), position=7, log_us=1)
    sessions.record(ask(1, session=TWO, born=7), receipt(1), position=9, log_us=102)
    sessions.record(ask(2, born=3), receipt(2), position=10, log_us=103)
    with pytest.raises(OutcomeUnknownError):
        sessions.lookup(ask(1, born=3))


def test_the_number_of_sessions_is_bounded(sessions: Sessions) -> None:
    for number in range(10):
        sessions.record(ask(1, session=bytes([number]) * 16, born=number), receipt(1), number, 1)
    assert (len(sessions), sessions.floor) == (2, 7)


def test_the_table_comes_back_from_its_wire_form(sessions: Sessions) -> None:
    for seq in (1, 2):
        sessions.record(ask(seq, born=5), receipt(seq), seq, 1)
    again = Sessions(4, 2, 100)
    again.restore(decode(encode(sessions.to_wire())))
    assert again.to_wire() == sessions.to_wire()
    assert again.lookup(ask(2)) == receipt(2)


def test_long_answers_are_shortened_beyond_the_budget_and_others_are_not() -> None:
    sessions = Sessions(window=4096, sessions_max=10, idle_us=100)
    many = {"ids": ["posts/a"], "errors": []}
    sessions.record(ask(1), Receipt("create_many", 1, many), 1, 1)
    for seq in range(2, SNAPSHOT_BYTES_MAX // 512 + 5):
        sessions.record(ask(seq), receipt(seq), seq, 1)
    again = Sessions(4096, 10, 100)
    again.restore(decode(encode(sessions.to_wire())))
    first = again.lookup(ask(2))
    assert first is not None
    assert (first.value, first.thin) == ({"$id": "posts/2", "version": 1}, True)
    last = again.lookup(ask(SNAPSHOT_BYTES_MAX // 512 + 4))
    assert last is not None
    assert "n" in last.value
    kept = again.lookup(ask(1))
    assert kept is not None
    assert kept.value == many
