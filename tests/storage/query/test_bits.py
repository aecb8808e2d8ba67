"""Masks of a bit a row: made, compared, cut."""

import operator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.storage.query.bits import compared, constant, packed, to_mask

OPS = {"eq": operator.eq, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
KINDS = {
    pa.int64(): st.sampled_from([-(2**63), -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1]),
    pa.int32(): st.sampled_from([-(2**31), -1, 0, 1, 2**31 - 1]),
    pa.float64(): st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0]),
    pa.int8(): st.integers(-128, 127),
    pa.string(): st.text(max_size=2),
    pa.timestamp("us", "UTC"): st.just(datetime(2026, 1, 1, tzinfo=UTC)),
}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(sorted(OPS)), st.sampled_from(list(KINDS)))
def test_a_part_of_a_column_with_gaps_compares_as_its_values_do(data, op, kind):
    values = data.draw(st.lists(st.none() | KINDS[kind], max_size=20))
    start = data.draw(st.integers(0, len(values)))
    operand = data.draw(KINDS[kind])
    bits = compared(op, pa.array(values, kind).slice(start), operand)
    assert bits.null_count == 0
    assert bits.to_pylist() == [value is not None and OPS[op](value, operand) for value in values[start:]]


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 40))
def test_a_mask_comes_back_as_it_was_also_a_part_of_it(values, start):
    bits = packed(np.array(values, np.bool_))
    assert bits.to_pylist() == values
    assert to_mask(bits.slice(min(start, len(values)))).tolist() == values[start:]


@pytest.mark.parametrize("length", [0, 1, 8, 9])
def test_a_constant_mask_counts_its_rows_and_no_more(length):
    assert constant(value=True, length=length).true_count == length
    assert constant(value=False, length=length).true_count == 0
