"""Which files are merged, and that it comes to an end."""

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from parquedb.storage.compaction.plan import Candidate, Limits, candidates, choose, tier, tiers
from parquedb.storage.files.data_file import DataFile

MIB = 1 << 20
LIMITS = Limits(files=4, dead_share=0.3, file_bytes=128 * MIB, bytes_max=256 * MIB)


def file(key, mib, *, ordered=True, rows=100):
    return DataFile(key, rows, int(mib * MIB), 0, "a", "z", 1, 2, ordered, {}, frozenset())


def found(*sizes, dead=0, **more):
    return [Candidate(file(f"data/1-{at}", mib, **more), 100 - dead) for at, mib in enumerate(sizes)]


def keys(chosen):
    return [one.key for one in chosen]


def test_tiers_grow_by_a_factor_of_four():
    assert [tier(mib * MIB) for mib in (0, 0.5, 1, 1.5, 3.9, 4.1, 15, 17, 63, 65)] == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert tiers(found(0.1, 0.2, 2, 5, 6)) == {0: 2, 1: 1, 2: 2}


def test_enough_files_of_one_tier_are_merged_the_lowest_tier_first():
    assert choose(found(2, 3, 2, 0.1, 0.2, 5), LIMITS) == []
    chosen = choose(found(2, 3, 2, 2.5, 0.1, 0.2, 0.3, 0.4, 100), LIMITS)
    assert keys(chosen) == ["data/1-4", "data/1-5", "data/1-6", "data/1-7"]
    assert keys(choose(found(20, 30, 40, 50, 100), LIMITS)) == ["data/1-0", "data/1-1", "data/1-2", "data/1-3"]


def test_large_files_are_left_alone():
    assert choose(found(64, 65, 66, 100, 128, 300), LIMITS) == []


def test_many_dead_rows_or_disorder_make_a_file_worth_rewriting():
    assert keys(choose(found(300, dead=31), LIMITS)) == ["data/1-0"]
    assert choose(found(100, dead=30), LIMITS) == []
    assert keys(choose(found(300, ordered=False), LIMITS)) == ["data/1-0"]
    assert keys(choose(found(5, dead=100), LIMITS)) == ["data/1-0"]


def test_what_is_merged_at_once_is_bounded():
    assert keys(choose(found(100, 100, 100, dead=50), LIMITS)) == ["data/1-0", "data/1-1"]
    assert len(choose(found(*[0.001] * 1000), LIMITS)) == 64


def test_asked_for_it_merges_whatever_makes_fewer_files():
    assert choose(found(0.1, 5), LIMITS) == []
    assert keys(choose(found(5, 0.1), LIMITS, thorough=True)) == ["data/1-1", "data/1-0"]
    assert choose(found(5), LIMITS, thorough=True) == []
    assert keys(choose(found(100, dead=11), LIMITS, thorough=True)) == ["data/1-0"]
    assert choose(found(100, dead=10), LIMITS, thorough=True) == []


def test_live_rows_are_counted():
    [one] = candidates([file("data/1-a", 10)], {"data/1-a": BitMap([1, 2, 3])})
    assert (one.live, one.dead_share, one.live_bytes) == (97, 0.03, 9.7 * MIB)


@given(st.lists(st.floats(0.001, 300), max_size=40), st.booleans())
def test_merging_comes_to_an_end(sizes, thorough):
    """Each merge leaves fewer files below the wanted size, so there is a last one."""
    files = {f"data/1-{at}": mib for at, mib in enumerate(sizes)}
    for turn in range(200):
        there = [Candidate(file(key, mib), 100) for key, mib in files.items()]
        chosen = choose(there, LIMITS, thorough=thorough)
        if not chosen:
            return
        size = sum(files.pop(one.key) for one in chosen)
        number = max(1, round(size / 128))
        files |= {f"data/2-{turn}-{at}": size / number for at in range(number)}
    raise AssertionError(files)
