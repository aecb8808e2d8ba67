"""Change feeds against an owner that fails at the worst moments: each change once, in order, or an error."""

import random
from typing import Any

import pytest

from parquedb.cluster.client.history_results import AsyncChangeFeed, Change, ChangeFeed, History, changes_of
from parquedb.errors import EventNotFoundError, FencedError, ParqueDBError, RpcUnavailableError


def wire(seq: int) -> list[Any]:
    return [seq, seq * 1_000_000, "create", f"d{seq}", {"$id": f"posts/d{seq}", "version": 1}]


class Owner:
    """Changes 1 to `last`, told in pages of random size; some questions fail."""

    def __init__(self, last: int, seed: int, failures: float) -> None:
        self.last = last
        self.rng = random.Random(seed)
        self.failures = failures
        self.asked: list[tuple[int, float]] = []

    def ask(self, after: int, wait_s: float) -> dict[str, Any]:
        self.asked.append((after, wait_s))
        if self.rng.random() < self.failures:
            raise self.rng.choice([FencedError(), RpcUnavailableError("gone")])
        stop = min(self.last, after + self.rng.randrange(1, 5))
        return {"changes": [wire(seq) for seq in range(after + 1, stop + 1)]}

    async def ask_async(self, after: int, wait_s: float) -> dict[str, Any]:
        return self.ask(after, wait_s)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parquedb.cluster.client.history_results._BACKOFF_FIRST_S", 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_each_change_is_given_once_through_failures_and_resumptions(seed: int) -> None:
    owner = Owner(50, seed, 0.3)
    got: list[int] = []
    while len(got) < 50:
        feed = ChangeFeed(owner.ask, got[-1] if got else 0, follow=False, patience_s=60)
        for change in feed:
            got.append(change.seq)
            assert feed.seq == change.seq
            if owner.rng.random() < 0.1:
                break
    assert got == list(range(1, 51))
    assert list(ChangeFeed(owner.ask, 50, follow=False, patience_s=60)) == []


async def test_the_asynchronous_feed_does_the_same() -> None:
    owner = Owner(50, 1, 0.3)
    feed = AsyncChangeFeed(owner.ask_async, 0, follow=False, patience_s=60)
    assert [change.seq async for change in feed] == list(range(1, 51))


def test_a_following_feed_waits_at_the_owner_and_goes_on() -> None:
    owner = Owner(2, 0, 0.0)
    feed = ChangeFeed(owner.ask, 0, follow=True, patience_s=60)
    assert [next(feed).seq, next(feed).seq] == [1, 2]
    owner.last = 3
    assert next(feed).seq == 3
    assert {wait_s for _, wait_s in owner.asked} == {5.0}


def test_it_gives_up_after_its_patience_and_can_be_asked_again() -> None:
    owner = Owner(5, 0, 0.0)
    feed = ChangeFeed(owner.ask, 0, follow=False, patience_s=0.05)
    assert next(feed).seq == 1
    feed._told.clear()  # Nothing is in hand: the next change must be asked for.
    owner.failures = 1.0
    with pytest.raises(ParqueDBError):
        next(feed)
    owner.failures = 0.0
    assert [change.seq for change in feed] == [2, 3, 4, 5]


def test_what_cannot_get_better_is_raised_at_once() -> None:
    asked = []

    def gone(after: int, wait_s: float) -> dict[str, Any]:
        asked.append(after)
        raise EventNotFoundError(namespace="posts", after=after, oldest=9)

    with pytest.raises(EventNotFoundError, match="the changes of namespace 'posts' after seq 3 are not kept any more"):
        next(ChangeFeed(gone, 3, follow=True, patience_s=60))
    assert asked == [3]


def test_a_history_goes_through_its_pages() -> None:
    def page(after: int) -> History:
        items = changes_of({"changes": [wire(seq) for seq in range(after + 1, after + 3)]})
        return History(items, after < 4, False, 1, page)

    assert [change.seq for change in page(0)] == [1, 2, 3, 4, 5, 6]


def test_a_change_knows_its_version() -> None:
    [change] = changes_of({"changes": [wire(7)]})
    assert (change.version, change.time.timestamp()) == (1, 7)
    assert Change(8, change.time, "remove", "a", None).version is None
