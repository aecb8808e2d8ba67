import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.observability.metrics.sketch import BASE, MAX_S, MIN_S, RELATIVE_ERROR, QuantileSketch, bin_of

durations = st.floats(min_value=MIN_S * 1.01, max_value=MAX_S)
many = st.lists(durations, min_size=1, max_size=200)
FRACTIONS = (0.0, 0.5, 0.95, 0.99, 1.0)


def sketch_of(values: list[float]) -> QuantileSketch:
    sketch = QuantileSketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(many, st.sampled_from(FRACTIONS))
def test_a_quantile_is_within_the_promised_distance_of_the_exact_one(values: list[float], fraction: float) -> None:
    exact = float(np.quantile(values, fraction, method="lower"))
    found = sketch_of(values).quantile(fraction)
    assert found == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-9)


def test_the_promise_is_better_than_two_percent() -> None:
    assert RELATIVE_ERROR < 0.011


@pytest.mark.parametrize("distribution", ["lognormal", "pareto", "uniform"])
def test_the_tail_of_a_hundred_thousand_durations_is_right(distribution: str) -> None:
    random = np.random.default_rng(7)
    values = {
        "lognormal": random.lognormal(-6, 1.5, 100_000),
        "pareto": random.pareto(1.5, 100_000) / 1000 + 1e-4,
        "uniform": random.uniform(1e-4, 1, 100_000),
    }[distribution]
    sketch = sketch_of(values.tolist())
    for fraction in (0.5, 0.9, 0.99, 0.999):
        exact = float(np.quantile(values, fraction, method="lower"))
        assert sketch.quantile(fraction) == pytest.approx(exact, rel=0.011)


@given(st.lists(many, min_size=3, max_size=3), st.permutations([0, 1, 2]))
def test_merging_in_any_order_and_grouping_gives_the_sketch_of_all_values(
    parts: list[list[float]], order: list[int]
) -> None:
    first, second, third = (sketch_of(parts[place]) for place in order)
    everything = sketch_of([value for part in parts for value in part])
    assert (first + second) + third == everything
    assert first + (second + third) == everything
    assert first + QuantileSketch() == first


@given(durations, st.integers(1, 100))
def test_a_weight_counts_as_often_as_it_says(value: float, weight: int) -> None:
    weighted = QuantileSketch()
    weighted.add(value, weight)
    assert weighted == sketch_of([value] * weight)


@given(durations)
def test_a_value_lies_in_its_bin(value: float) -> None:
    index = bin_of(value)
    assert BASE**index * (1 - 1e-9) <= value <= BASE ** (index + 1) * (1 + 1e-9)


def test_whatever_is_added_there_are_at_most_so_many_bins() -> None:
    values = [0.0, -1.0, 5e-324, float("inf"), *np.geomspace(1e-12, 1e12, 100_000).tolist()]
    assert len(sketch_of(values).bins) <= 1185


def test_nothing_has_no_quantile() -> None:
    assert QuantileSketch().quantile(0.5) is None
