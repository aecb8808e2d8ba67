"""The past of a namespace: what it was at every point, against a plain record kept while it was lived."""

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from parquedb.errors import SnapshotNotFoundError, ValidationError
from tests.support.engines import run
from tests.support.pasts import MANY, Life, lives, random_steps
from tests.support.virtual_loop import Process, SimClock, run_virtually


def living(main: Any, **options: Any) -> None:
    async def live() -> None:
        life = await Life.begin(SimClock(Process("one")), **options)
        try:
            await main(life)
        finally:
            life.owner.abandon()

    run_virtually(live)


@settings(max_examples=60, deadline=None)
@given(steps=lives)
def test_every_point_of_the_past_is_as_it_was(steps: list[tuple[Any, ...]]) -> None:
    async def main(life: Life) -> None:
        await life.live(steps)
        for again in (False, True):
            if again:
                await life.reopen()
            for seq, state in enumerate(life.states):
                assert await life.seen(seq) == state
                visible = [one for one in state.values() if "deletedAt" not in one]
                assert await run(life.owner, "count", as_of=seq) == len(visible)
                for id_ in MANY:
                    assert await run(life.owner, "get", id_, as_of=seq, include_deleted=True) == state.get(id_)

    living(main)


async def check_all(life: Life) -> int:
    """Compare every point of the past that is kept; return the first from which all are."""
    gone = 0
    for seq, state in enumerate(life.states):
        try:
            seen = await life.seen(seq)
        except SnapshotNotFoundError:
            assert gone == seq, "once a point is kept, so are all after it"
            gone += 1
            with pytest.raises(SnapshotNotFoundError, match="is not kept any more; the oldest is seq") as refused:
                await run(life.owner, "get", "a", as_of=seq)
            assert refused.value.oldest > seq
            continue
        assert seen == state
        for id_ in MANY:
            assert await run(life.owner, "get", id_, as_of=seq, include_deleted=True) == state.get(id_)
    return gone


@pytest.mark.parametrize("seed", range(60))
def test_what_is_no_longer_kept_is_refused_and_the_rest_is_right(seed: int) -> None:
    rng = random.Random(seed)

    async def main(life: Life) -> None:
        await life.live(random_steps(rng, 90))
        assert await check_all(life) < len(life.states)

    living(main, history_window_s=rng.choice([0, 10, 30, 100]))


def test_a_state_before_all_that_is_kept_comes_from_a_file_that_was_merged_away() -> None:
    async def main(life: Life) -> None:
        await life.live([("create", "a", 1), ("flush",), ("wait",), ("create", "b", 1), ("flush",)])
        await life.live([("update", "a", 2), ("remove", "b"), ("flush",), ("compact",), ("collect",)])
        assert await check_all(life) == 1
        await life.live([("wait",), ("create", "b", 3), ("flush",), ("wait",), ("collect",)])
        assert await check_all(life) == 4

    living(main, history_window_s=50, snapshot_grace_s=10, log_grace_s=1)


def test_what_was_loaded_was_not_what_had_its_id_before() -> None:
    async def main(life: Life) -> None:
        await life.live([("create", "a", 1), ("flush",), ("remove", "a"), ("create", "b", 1), ("flush",)])
        await life.live([("wait",), ("create", "c", 1), ("flush",), ("load", [7], ["a"]), ("update", "a", 8)])
        assert await check_all(life) == 3
        await life.live([("flush",), ("update", "a", 9), ("compact",)])
        assert await check_all(life) == 3

    living(main, history_window_s=50)


def test_history_begins_where_a_flush_ended() -> None:
    """What a document was between two changes of one flush is in no data file."""

    async def main(life: Life) -> None:
        await life.live([("create", "a", 1), ("create", "b", 1), ("create", "c", 1), ("create", "d", 1), ("wait",)])
        assert life.owner.stats()["checkpoints"] == 1
        await life.live([("update", "a", 2), ("flush",)])
        assert await check_all(life) == 0

    living(main, history_window_s=50)


@settings(max_examples=30, deadline=None)
@given(steps=lives)
def test_a_time_means_the_last_change_before_it(steps: list[tuple[Any, ...]]) -> None:
    async def main(life: Life) -> None:
        await life.live(steps)
        await life.clock.sleep(1)
        for seq, state in enumerate(life.states):
            # Changes are at least a second apart, but for those of one call.
            if seq + 1 < len(life.times) and life.times[seq + 1] == life.times[seq]:
                continue
            assert await life.seen(life.times[seq] + timedelta(milliseconds=500)) == state

    living(main)


def test_the_future_and_nonsense_are_refused() -> None:
    async def main(life: Life) -> None:
        await life.live([("create", "a", 1)])
        with pytest.raises(ValidationError, match="as_of: expected at most 1, the seq of the last change, got 2"):
            await run(life.owner, "get", "a", as_of=2)
        with pytest.raises(ValidationError, match="as_of: expected a time that is not in the future"):
            await run(life.owner, "find", as_of=life.clock.now() + timedelta(seconds=1))
        for nonsense in (-1, True, "yesterday", life.clock.now().replace(tzinfo=None)):
            with pytest.raises(ValidationError, match="as_of: expected a seq of at least 0 or a datetime"):
                await run(life.owner, "count", as_of=nonsense)

    living(main)
