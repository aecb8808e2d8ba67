"""Ints that a document may hold and Python will not write: more than 4 300 digits, up to 65 536 bits."""

import pytest

from parquedb.documents import extended_json
from parquedb.documents.codec import encode
from parquedb.documents.filters import compile_filter
from parquedb.documents.long_ints import DIGITS_MAX, digits_of, int_of
from parquedb.documents.sorting import parse_sort
from parquedb.documents.values import INT_BITS_MAX
from parquedb.errors import InvalidFilterError, InvalidSortError, ValidationError

LONGEST = 2**INT_BITS_MAX - 1
LONG = 10**5000


@pytest.mark.parametrize(
    "value",
    [0, -1, 10**18, -(10**18), 2**64, LONG, -LONG - 7, LONGEST, -LONGEST],
    ids=lambda value: f"{value.bit_length()} bits",
)
def test_an_int_comes_back_from_its_digits(value: int) -> None:
    assert int_of(digits_of(value)) == value
    assert extended_json.loads(extended_json.dumps({"n": value})) == {"n": value}


@pytest.mark.parametrize(
    "digits", ["", "1.5", "1_000", "1e5", "NaN", "٣", " 1", pytest.param("1" * (DIGITS_MAX + 1), id="long"), 5]
)
def test_what_is_no_int_or_too_long_is_refused(digits: object) -> None:
    with pytest.raises(ValueError, match="digits"):
        int_of(digits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "condition", [{"$mod": [LONG, 0]}, {"$size": LONG}, {"$type": LONG}], ids=["mod", "size", "type"]
)
def test_a_filter_that_is_refused_for_a_long_int_is_refused_by_its_own_error(condition: dict[str, object]) -> None:
    with pytest.raises(InvalidFilterError):
        compile_filter({"n": condition})


def test_a_sort_order_and_a_key_that_are_long_ints_are_refused_by_their_own_errors() -> None:
    with pytest.raises(InvalidSortError):
        parse_sort({"n": LONG})
    with pytest.raises(ValidationError, match="keys of text"):
        encode({LONG: 1})
