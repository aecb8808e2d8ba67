from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.cluster.gateway.access.addresses import caller_address
from parquedb.cluster.gateway.access.rates import Rates
from parquedb.cluster.gateway.access.recent import Recent


def test_a_whole_quota_may_come_at_once_and_then_one_by_one() -> None:
    rates = Rates(10, 5, 100)
    standings = [rates.take("a", 100) for _ in range(12)]
    assert [one.allowed for one in standings] == [True] * 10 + [False] * 2
    assert [one.left for one in standings] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]
    assert standings[9].full_s == pytest.approx(5)
    assert standings[10].retry_s == pytest.approx(0.5)
    assert not rates.take("a", 100.49).allowed
    assert rates.take("a", 100.5).allowed
    assert not rates.take("a", 100.5).allowed
    assert rates.take("a", 200).left == 9


def test_each_caller_has_a_quota_of_its_own() -> None:
    rates = Rates(1, 1, 100)
    assert rates.take("a", 0).allowed
    assert rates.take("b", 0).allowed
    assert not rates.take("a", 0).allowed
    assert [rates.take("big", 0, 3).allowed for _ in range(4)] == [True, True, True, False]


def test_looking_counts_nothing() -> None:
    rates = Rates(1, 1, 100)
    assert [rates.look("a", 0).allowed for _ in range(3)] == [True] * 3
    rates.take("a", 0)
    assert not rates.look("a", 0.5).allowed
    assert rates.look("a", 1).allowed


def test_memory_is_bounded_and_the_oldest_leaves() -> None:
    rates = Rates(1, 1, 3)
    for number in range(1000):
        rates.take(number, 0)
    assert len(rates._full_at_s) == 3
    assert not rates.take(999, 0).allowed
    assert rates.take(0, 0).allowed


@settings(max_examples=200)
@given(
    quota=st.integers(1, 20),
    window_s=st.integers(1, 100),
    waits=st.lists(st.fractions(0, 3, max_denominator=64), max_size=120),
)
def test_it_admits_exactly_what_a_bucket_that_is_refilled_evenly_does(
    quota: int, window_s: int, waits: list[Fraction]
) -> None:
    rates, now_s, tokens = Rates(quota, window_s, 10), Fraction(1000), Fraction(quota)
    for wait_s in waits:
        now_s += wait_s
        tokens = min(Fraction(quota), tokens + wait_s * quota / window_s)
        standing = rates.take("a", float(now_s))
        # Where a sum of floats decides, either is right.
        if abs(tokens - 1) > Fraction(1, 10**6):
            assert standing.allowed == (tokens >= 1)
        tokens -= standing.allowed


def test_recent_forgets_what_was_not_needed_for_longest() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]
    recent.forget("a")
    recent.forget("never")
    assert len(recent) == 1
    none: Recent[str, int] = Recent(0)
    none.put("a", 1)
    assert none.get("a") is None


def forwarded(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value.encode()) for value in values]


@pytest.mark.parametrize(
    ("peer", "headers", "proxies", "address"),
    [
        ("10.0.0.1", forwarded("6.6.6.6"), 0, "10.0.0.1"),
        ("10.0.0.1", forwarded("6.6.6.6"), 1, "6.6.6.6"),
        ("10.0.0.1", forwarded("1.1.1.1, 6.6.6.6"), 1, "6.6.6.6"),
        ("10.0.0.1", forwarded("1.1.1.1", "6.6.6.6,10.0.0.2"), 2, "6.6.6.6"),
        ("10.0.0.1", forwarded("6.6.6.6"), 2, "10.0.0.1"),
        ("10.0.0.1", forwarded("6.6.6.6:4711"), 1, "6.6.6.6"),
        ("10.0.0.1", forwarded("[2001:db8:1:2::9]:4711"), 1, "2001:db8:1:2::/64"),
        ("10.0.0.1", forwarded(" , "), 1, "10.0.0.1"),
        ("10.0.0.1", [], 3, "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", [], 0, "2001:db8:1:2::/64"),
        ("::ffff:6.6.6.6", [], 0, "6.6.6.6"),
        (None, [], 0, ""),
        ("10.0.0.1", forwarded("x" * 1000), 1, "x" * 64),
    ],
)
def test_an_address_is_what_our_own_proxies_saw(peer: str | None, headers: list, proxies: int, address: str) -> None:
    assert caller_address(peer, headers, proxies) == address
