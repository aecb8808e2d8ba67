import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from parquedb.clock import ManualClock, SystemClock
from parquedb.ids import ALPHABET, UlidSource, random_token, ulid_time


class AllOnes(random.Random):
    def getrandbits(self, k: int) -> int:
        return 2**k - 1


class SetClock(ManualClock):
    def __init__(self, moment: datetime) -> None:
        super().__init__()
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def value_of(ulid: str) -> int:
    number = 0
    for char in ulid:
        number = number * 32 + ALPHABET.index(char)
    return number


def test_a_ulid_is_26_characters_of_crockfords_alphabet_in_upper_case():
    ulid = UlidSource(SystemClock(), random.Random(1)).next()
    assert len(ulid) == 26
    assert set(ulid) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_the_time_part_is_that_of_the_reference_implementation():
    # The pair that the reference implementation's documentation and tests use.
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1_469_918_176_385)
    ulid = UlidSource(SetClock(moment), random.Random(1)).next()
    assert ulid.startswith("01ARYZ6S41")
    assert ulid_time(ulid) == moment


def test_ids_of_one_millisecond_rise_by_one():
    source = UlidSource(ManualClock(), random.Random(7))
    values = [value_of(source.next()) for _ in range(1000)]
    assert values == list(range(values[0], values[0] + 1000))


def test_ids_sort_as_text_in_the_order_they_were_made():
    clock, rng = ManualClock(), random.Random(3)
    source = UlidSource(clock, rng)
    ids = []
    for _ in range(500):
        ids.append(source.next())
        clock.advance(rng.choice([0, 0.0004, 0.001, 5]))
    assert ids == sorted(set(ids))


def test_ids_keep_rising_when_the_clock_steps_back():
    clock = SetClock(datetime(2026, 5, 1, tzinfo=UTC))
    source = UlidSource(clock, random.Random(1))
    before = source.next()
    clock.moment -= timedelta(days=400)
    after = [source.next() for _ in range(3)]
    assert [before, *after] == sorted({before, *after})
    assert ulid_time(after[-1]) == datetime(2026, 5, 1, tzinfo=UTC)


def test_a_full_random_part_carries_into_the_time():
    clock = SetClock(datetime(2026, 5, 1, tzinfo=UTC))
    source = UlidSource(clock, AllOnes())
    first, second = source.next(), source.next()
    assert first.endswith("Z" * 16)
    assert first < second
    assert ulid_time(second) - ulid_time(first) == timedelta(milliseconds=1)


def test_a_clock_before_1970_counts_as_1970():
    source = UlidSource(SetClock(datetime(1960, 1, 1, tzinfo=UTC)), random.Random(1))
    assert source.next().startswith("0000000000")


def test_one_source_shared_by_threads_never_repeats_an_id():
    source = UlidSource(SystemClock(), random.Random(1))
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: source.next(), range(4000)))
    assert len(set(ids)) == 4000


def test_one_seed_gives_one_sequence():
    sources = [UlidSource(ManualClock(), random.Random(5)) for _ in range(2)]
    assert [sources[0].next() for _ in range(5)] == [sources[1].next() for _ in range(5)]


@pytest.mark.parametrize("text", ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "U" * 26, "é" * 26])
def test_what_is_no_ulid_is_refused_by_name(text: str):
    with pytest.raises(ValueError, match="expected a ULID of 26 characters, got "):
        ulid_time(text)


def test_a_ulid_beyond_the_year_9999_is_refused_by_name():
    with pytest.raises(ValueError, match="before the year 10000"):
        ulid_time("7" + "Z" * 25)


def test_a_lower_case_ulid_is_read_too():
    assert ulid_time("01arz3ndektsv4rrffq69g5fav") == ulid_time("01ARZ3NDEKTSV4RRFFQ69G5FAV")


@pytest.mark.parametrize("chars", [1, 8, 26, 64])
def test_a_token_has_the_asked_length_and_fits_a_storage_key(chars: int):
    token = random_token(chars)
    assert len(token) == chars
    assert set(token) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_tokens_differ_unless_the_source_is_the_same():
    assert len({random_token(26) for _ in range(100)}) == 100
    assert random_token(26, random.Random(1)) == random_token(26, random.Random(1))


def test_every_character_of_a_token_is_used():
    assert set(random_token(2000, random.Random(1))) == set("0123456789abcdefghjkmnpqrstvwxyz")


def test_a_token_of_no_characters_is_refused():
    with pytest.raises(ValueError, match="expected at least 1 character, got 0"):
        random_token(0)
