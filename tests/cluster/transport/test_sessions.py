import pytest

from parquedb.actors.requests.operations import SessionRequest
from parquedb.cluster.transport import sessions
from parquedb.cluster.transport.sessions import SessionPool, parse_request_id, request_id_text
from parquedb.errors import BackpressureError


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def make_pool(window: int = 4) -> tuple[SessionPool, Time]:
    now = Time()
    counter = iter(range(1, 1_000_000))
    pool = SessionPool(window=window, now=now, random_bytes=lambda size: next(counter).to_bytes(size, "big"))
    return pool, now


def take(pool: SessionPool) -> SessionRequest:
    request = pool.take()
    assert request is not None
    return request


def test_no_session_starts_before_the_log_position_is_known() -> None:
    pool, _ = make_pool()
    assert pool.take() is None
    pool.learn(17)
    assert take(pool)[1:] == (1, 1, 17)


def test_low_is_the_lowest_number_still_waited_for() -> None:
    pool, _ = make_pool(window=10)
    pool.learn(0)
    first, second, third = take(pool), take(pool), take(pool)
    assert [each.seq for each in (first, second, third)] == [1, 2, 3]
    pool.settle(second)
    assert take(pool).low == 1
    pool.settle(first)
    assert take(pool).low == 3
    pool.settle(third)
    assert take(pool).low == 4


def test_another_session_opens_when_the_window_is_full_and_the_first_is_used_again() -> None:
    pool, _ = make_pool(window=4)
    pool.learn(0)
    requests = [take(pool) for _ in range(10)]
    assert [request.seq for request in requests] == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    assert len({request.session for request in requests}) == 3
    for request in requests:
        assert request.seq < request.low + 4
        pool.settle(request)
    assert take(pool).session in {request.session for request in requests}


def test_one_slow_request_does_not_stop_the_others() -> None:
    pool, _ = make_pool(window=4)
    pool.learn(0)
    slow = take(pool)
    for _ in range(20):
        request = take(pool)
        assert request.session != slow.session or request.seq < slow.seq + 4
        pool.settle(request)


def test_an_idle_session_is_given_up_and_a_new_one_needs_a_fresh_position() -> None:
    pool, now = make_pool()
    pool.learn(5)
    old = take(pool)
    pool.settle(old)
    now.now_s += 301
    assert pool.take() is None
    pool.learn(99)
    fresh = take(pool)
    assert fresh.session != old.session
    assert fresh.born == 99


def test_a_parked_request_keeps_its_session_from_moving_past_it() -> None:
    pool, _ = make_pool()
    pool.learn(0)
    parked = take(pool)
    pool.park(parked)
    following = take(pool)
    assert following.session != parked.session
    pool.settle(parked)


def test_too_many_unsettled_requests_are_refused() -> None:
    pool, _ = make_pool(window=1)
    pool.learn(0)
    for _ in range(sessions.SESSIONS_MAX):
        take(pool)
    with pytest.raises(BackpressureError, match="256 writes of this client are under way"):
        pool.take()


def test_a_request_id_survives_as_text() -> None:
    request = SessionRequest(bytes(range(16)), 7, 3, 42)
    text = request_id_text(request)
    assert text == "pqs-000102030405060708090a0b0c0d0e0f-7-42"
    assert parse_request_id(text) == SessionRequest(bytes(range(16)), 7, 1, 42)


@pytest.mark.parametrize("text", ["order-17", "pqs-", "pqs-00-1-1", "pqs-000102030405060708090a0b0c0d0e0f-0-1"])
def test_any_other_text_is_the_callers_own_id(text: str) -> None:
    assert parse_request_id(text) == text
    assert request_id_text(text) == text
