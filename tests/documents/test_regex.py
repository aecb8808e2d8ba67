"""Regular expressions: what they find, how long they may take, and what is known of what they find."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import threading
import time
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.documents.codec import decode, encode
from parquedb.documents.filters import compile_filter
from parquedb.documents.regex import Regex, read
from parquedb.errors import ValidationError

# Pieces that mean the same to Python and RE2, on texts of ASCII without a final newline.
PIECES = ["a", "b", "ab", " ", "#", ".", "a*", "b+?", "[ab]", "[^a ]", "[]a]", "(a|b)", "(?:ab)?", "a{2}", "a{0,2}"]
PIECES += ["^", "$", r"\.", r"\ ", r"\#", r"\w", r"\d", r"\s", r"\b", r"\x61", "[#]", "[ ]", "\n", "#a\n", "|"]
patterns = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
texts = st.text("ab .#\n1", max_size=8).map(lambda text: text.rstrip("\n"))
options = st.sampled_from(["", "i", "m", "s", "x", "im", "msx", "imsx"])


def python_search(pattern: str, options: str, text: str) -> bool:
    flags = re.RegexFlag(0)
    for option in options:
        flags |= re.RegexFlag[option.upper()]
    return re.search(pattern, text, flags) is not None


@settings(deadline=None, max_examples=1_000)
@given(patterns, options, texts)
def test_patterns_that_both_understand_find_what_pythons_find(pattern: str, options: str, text: str) -> None:
    try:
        expected = python_search(pattern, options, text)
        regex = read(pattern, options)
    except (re.error, ValidationError):
        return  # Such as `^*`, which one of the two refuses.

    assert regex.search()(text) is expected


@settings(deadline=None, max_examples=1_000)
@given(patterns.map("^".__add__), options, texts)
def test_whatever_matches_begins_with_the_prefix(pattern: str, options: str, text: str) -> None:
    try:
        regex = read(pattern, options)
    except ValidationError:
        return
    if regex.search()(text):
        assert text.startswith(regex.prefix())


@pytest.mark.parametrize(
    ("pattern", "options", "prefix"),
    [
        ("^abc", "", "abc"),
        ("^abc", "s", "abc"),
        ("^abc$", "", "abc"),
        ("^ab+", "", "ab"),
        ("^abc*", "", "ab"),
        ("^abc?d", "", "ab"),
        ("^abc{0,2}", "", "ab"),
        (r"^a\.b\*c?", "", "a.b*"),
        (r"^a\.*", "", "a"),
        (r"^a\d", "", "a"),
        ("^é(x)", "", "é"),
        ("^posts/01", "", "posts/01"),
        ("abc", "", ""),
        ("^abc|d", "", ""),
        ("^abc", "i", ""),
        ("^abc", "m", ""),
        ("^a b", "x", ""),
        ("^", "", ""),
    ],
)
def test_the_prefix_of_an_anchored_pattern(pattern: str, options: str, prefix: str) -> None:
    assert read(pattern, options).prefix() == prefix


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("a b", "ab", True),
        (r"a\ b", "a b", True),
        ("[ ]", "ab", False),
        ("[] ]x", " x", True),
        ("[^] ]x", " x", False),
        ("[[:space:] ]x", " x", True),
        (r"[\] ]x", " x", True),
        (r"\Qa b\E", "a b", True),
        (r"\Qa # b", "a # b", True),
        ("a # text\nb", "ab", True),
        ("a # text", "a", True),
        ("a  +", "aa", True),
        (r"\x4 1", "A", False),
        ("a\tb\r\n\f\vc", "abc", True),
        (" ", "", True),
    ],
)
def test_option_x_ignores_blanks_and_comments(pattern: str, text: str, found: bool) -> None:
    try:
        assert read(pattern, "x").search()(text) is found
    except ValidationError:
        assert pattern == r"\x4 1"  # RE2 wants two digits; it must not take the 1 for the second.


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_patterns_that_hang_other_engines_take_linear_time(pattern: str) -> None:
    predicate = compile_filter({"a": {"$regex": pattern}})

    def took(length: int) -> float:
        document = {"a": "a" * length + "!"}
        times = []
        for _ in range(5):
            start = time.perf_counter()
            predicate(document)
            times.append(time.perf_counter() - start)
        return median(times)

    took(1_000)
    # Ten times the text may take fifty times as long on a busy machine; squared it would be a hundred.
    assert took(1_000_000) < 50 * max(took(100_000), 0.000_1)


def test_other_threads_go_on_while_a_pattern_is_searched() -> None:
    # Nothing can be found, and the states are too many to be kept: the slowest there is.
    predicate = compile_filter({"a": {"$regex": "[ab]*a[ab]{500}c"}})

    def turns_meanwhile() -> int:
        searching = threading.Thread(target=predicate, args=({"a": "abbabaab" * 20_000},))
        searching.start()
        turns = 0
        while searching.is_alive():
            turns += 1
            time.sleep(0)
        return turns

    # On a busy machine this thread may not get a processor while one search lasts; it gets one some time.
    assert any(turns_meanwhile() > 10 for _ in range(20))


def test_the_engine_is_loaded_by_the_first_pattern_only() -> None:
    program = (
        "import sys; from parquedb.documents.filters import compile_filter; compile_filter({'a': {'$contains': 'x'}});"
        "assert 're2' not in sys.modules; compile_filter({'a': {'$regex': 'x'}}); assert 're2' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_refused_pattern_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValidationError):
        read("(?=x)", None)

    assert capfd.readouterr() == ("", "")


def test_a_text_with_a_lone_surrogate_is_searched_too() -> None:
    assert read("a", None).search()("\ud800a")
    with pytest.raises(ValidationError, match="expected a pattern of valid Unicode, got a lone surrogate"):
        read("\ud800", None)


def test_a_compiled_pattern_keeps_its_flags_in_one_order() -> None:
    assert Regex.of(re.compile("a", re.X | re.S | re.M | re.I | re.A)) == Regex("a", "imsx")
    assert read("a", "uxi") == Regex("a", "ix")


@pytest.mark.parametrize("regex", [Regex("a/b", "im"), Regex("é"), Regex("/"), Regex("\ud800")])
def test_a_regex_travels(regex: Regex) -> None:
    assert decode(encode({"a": [regex, 1]})) == {"a": [regex, 1]}
    assert pickle.loads(pickle.dumps(regex)) == regex
