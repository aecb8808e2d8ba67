"""Retries: waits, caps, and a budget that keeps them rare."""

import contextlib
import random
import threading
from collections.abc import Iterable

import pytest

from parquedb import errors
from parquedb.clock import ManualClock
from parquedb.storage.backends.retry import Retrier, RetryBudget, RetryOptions, backoff_s, is_retryable


class Script:
    """Plays outcomes one after the other and remembers what it was given."""

    def __init__(self, clock: ManualClock, outcomes: Iterable[BaseException | str], *, takes_s: float = 0.0) -> None:
        self.outcomes = list(outcomes)
        self.left_s: list[float] = []
        self.at_s: list[float] = []
        self.clock = clock
        self.takes_s = takes_s

    async def __call__(self, left_s: float) -> str:
        self.left_s.append(left_s)
        self.at_s.append(self.clock.boot_s())
        self.clock.advance(self.takes_s)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def make(
    *, tokens_max: float = 10, ratio: float = 0.2, seed: int = 1, **options: float
) -> tuple[Retrier, ManualClock, RetryBudget]:
    clock, budget = ManualClock(), RetryBudget(ratio, tokens_max=tokens_max)
    return Retrier(RetryOptions(**options), budget, clock=clock, rng=random.Random(seed)), clock, budget


async def test_it_tries_again_until_a_try_succeeds():
    retrier, clock, _ = make()
    script = Script(clock, [errors.NetworkError(), errors.TimeoutError(), "bytes"])
    assert await retrier.run(script) == "bytes"
    assert len(script.at_s) == 3


async def test_it_gives_up_after_the_last_try_with_the_last_error_and_says_why():
    retrier, clock, _ = make(attempts_max=3)
    last = errors.NetworkError("third")
    script = Script(clock, [errors.NetworkError("first"), errors.NetworkError("second"), last, "never"])
    with pytest.raises(errors.NetworkError) as caught:
        await retrier.run(script)
    assert caught.value is last
    assert caught.value.__notes__ == ["gave up after 3 of 3 tries: no tries left"]


@pytest.mark.parametrize(
    "error",
    [
        errors.ObjectNotFoundError(key="k"),
        errors.ValidationError(),
        errors.QuotaExceededError(key="k"),
        errors.CorruptionError(key="k"),
        errors.CircuitOpenError(circuit="c", retry_after=0.001),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_final_error_is_raised_at_once_and_costs_no_budget(error: errors.ParqueDBError):
    retrier, clock, budget = make()
    script = Script(clock, [error, "never"])
    with pytest.raises(type(error)):
        await retrier.run(script)
    assert (len(script.at_s), clock.boot_s(), budget.tokens) == (1, 0, 10)
    assert not hasattr(error, "__notes__")


async def test_an_error_that_is_not_ours_is_not_retried():
    retrier, clock, _ = make()
    script = Script(clock, [ZeroDivisionError(), "never"])
    with pytest.raises(ZeroDivisionError):
        await retrier.run(script)
    assert len(script.at_s) == 1


async def test_each_try_gets_the_time_that_is_left_of_the_callers():
    retrier, clock, _ = make()
    script = Script(clock, [errors.NetworkError(), errors.NetworkError(), "bytes"], takes_s=2)
    await retrier.run(script, timeout_s=7)
    assert script.left_s == [7 - at_s for at_s in script.at_s]
    assert script.left_s[1] < 5


async def test_without_a_limit_of_the_caller_the_options_limit_holds():
    retrier, clock, _ = make(total_s=3)
    script = Script(clock, ["bytes"])
    await retrier.run(script)
    assert script.left_s == [3]


async def test_a_try_that_hangs_leaves_time_for_another_within_the_same_deadline():
    retrier, clock, _ = make(total_s=25, attempt_s=10, base_s=0, max_s=0)
    script = Script(clock, [errors.TimeoutError(timeout_s=10)] * 3, takes_s=10)
    with pytest.raises(errors.TimeoutError):
        await retrier.run(script)
    assert script.left_s == [10, 10, 5]


async def test_no_try_begins_after_the_deadline():
    retrier, clock, budget = make(attempts_max=100, base_s=1, max_s=1)
    script = Script(clock, [errors.NetworkError()] * 100, takes_s=1)
    with pytest.raises(errors.NetworkError) as caught:
        await retrier.run(script, timeout_s=5)
    assert 2 <= len(script.at_s) <= 5
    assert max(script.at_s) < 5
    assert clock.boot_s() <= 6, "it does not wait for a try it will not make"
    assert caught.value.__notes__[-1].endswith("no time left")
    assert budget.tokens == 10 - (len(script.at_s) - 1)


async def test_it_waits_as_long_as_the_store_asks_for():
    retrier, clock, _ = make(base_s=0.001, max_s=0.001)
    script = Script(clock, [errors.RateLimitedError(retry_after=3.0), "bytes"])
    assert await retrier.run(script) == "bytes"
    assert script.at_s == [0, 3]


async def test_a_store_that_asks_for_more_time_than_there_is_ends_it_at_once():
    retrier, clock, _ = make()
    script = Script(clock, [errors.RateLimitedError(retry_after=60.0), "never"])
    with pytest.raises(errors.RateLimitedError):
        await retrier.run(script, timeout_s=5)
    assert clock.boot_s() == 0


async def test_a_failing_store_soon_gets_no_more_than_the_first_tries():
    retrier, clock, budget = make(tokens_max=5, attempts_max=4)
    tries = []
    for _ in range(20):
        script = Script(clock, [errors.NetworkError()] * 4)
        with pytest.raises(errors.NetworkError):
            await retrier.run(script)
        tries.append(len(script.at_s))
    assert tries == [4, 3, *[1] * 18], "5 tokens are 5 retries"
    assert budget.tokens == 0


async def test_the_reason_names_the_spent_budget():
    retrier, clock, _ = make(tokens_max=0)
    with pytest.raises(errors.NetworkError) as caught:
        await retrier.run(Script(clock, [errors.NetworkError()]))
    assert caught.value.__notes__ == ["gave up after 1 of 4 tries: the retry budget is spent"]


async def test_retries_are_at_most_the_share_of_successes_that_earned_them():
    retrier, clock, _ = make(tokens_max=5, ratio=0.1, attempts_max=2)
    rng, calls, retries = random.Random(3), 2_000, 0
    for _ in range(calls):
        script = Script(clock, [errors.NetworkError() if rng.random() < 0.5 else "x" for _ in range(2)])
        with contextlib.suppress(errors.NetworkError):
            await retrier.run(script)
        retries += len(script.at_s) - 1
    assert 100 < retries <= 5 + 0.1 * calls


def test_a_budget_never_holds_more_than_its_maximum_nor_pays_a_part_of_a_retry():
    budget = RetryBudget(0.5, tokens_max=2)
    for _ in range(10):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()


def test_a_budget_shared_by_threads_pays_exactly_what_it_holds():
    budget, paid = RetryBudget(0.0, tokens_max=1_000), []

    def spend() -> None:
        paid.append(sum(budget.spend() for _ in range(500)))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sum(paid) == 1_000


def test_waits_are_spread_over_the_whole_interval_which_doubles_up_to_its_cap():
    options, rng = RetryOptions(base_s=0.1, max_s=1.0), random.Random(5)
    for failures, bound_s in [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (6, 1.0), (10_000, 1.0)]:
        waits = [backoff_s(failures, options, rng) for _ in range(2_000)]
        assert 0 <= min(waits) < 0.02 * bound_s
        assert 0.98 * bound_s < max(waits) <= bound_s
        assert sum(waits) / len(waits) == pytest.approx(bound_s / 2, rel=0.1)


def test_an_unknown_outcome_may_be_retried_by_a_call_that_may_be_applied_twice():
    assert is_retryable(errors.OutcomeUnknownError(key="k"))
    assert is_retryable(errors.ConcurrentModificationError(key="k"))
    assert not is_retryable(errors.AlreadyExistsError(key="k"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("attempts_max", 0, "retry option attempts_max must be at least 1, not 0"),
        ("base_s", -1.0, "retry option base_s must be 0 seconds or more, not -1.0"),
        ("total_s", float("nan"), "retry option total_s must be above 0 seconds, not nan"),
        ("attempt_s", 0, "retry option attempt_s must be above 0 seconds, not 0"),
    ],
)
def test_an_option_out_of_range_is_named(option: str, value: float, message: str):
    with pytest.raises(errors.ConfigurationError) as caught:
        RetryOptions(**{option: value})
    assert str(caught.value) == message


def test_a_budget_out_of_range_is_named():
    with pytest.raises(errors.ConfigurationError, match=r"retry budget ratio must be 0 to 1, not 1\.5"):
        RetryBudget(1.5)
    with pytest.raises(errors.ConfigurationError, match="retry budget tokens_max must be 0 or more, not -1"):
        RetryBudget(tokens_max=-1)
