"""Names become keys injectively, and nothing else becomes one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError, InvalidPathError, PathTraversalError, ValidationError
from parquedb.storage import keys

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: len(text.encode()) * 3 <= keys.SEGMENT_LENGTH_MAX
)


@given(texts)
def test_a_name_comes_back_from_its_segment(name: str) -> None:
    segment = keys.encode_segment(name)
    assert keys.decode_segment(segment) == name
    assert keys.check_key(segment) == segment
    assert keys.check_key(f"{segment}/log/{segment}")


@given(texts, texts)
def test_different_names_never_share_a_segment_even_where_case_is_ignored(one: str, other: str) -> None:
    same = keys.encode_segment(one).lower() == keys.encode_segment(other).lower()
    assert same == (one == other)


@given(texts)
def test_a_segment_is_safe_on_every_file_system(name: str) -> None:
    segment = keys.encode_segment(name)
    assert re.fullmatch(r"[a-z0-9._~-]+", segment)
    assert not segment.startswith(".")
    assert not segment.endswith(".")
    assert segment not in {"~tmp", "~probe", "~lock"}


@given(st.text(max_size=12) | st.text("ab.~/\\0167ef", max_size=12))
def test_what_decodes_is_exactly_what_encoding_gives(text: str) -> None:
    try:
        name = keys.decode_segment(text)
    except InvalidPathError:
        return
    assert keys.encode_segment(name) == text


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("posts", "posts"),
        ("a..b", "a..b"),
        ("file.with.dots.txt", "file.with.dots.txt"),
        (".hidden", "~2ehidden"),
        ("ends.", "ends~2e"),
        ("Users", "~55sers"),
        ("a b", "a~20b"),
        ("%2e%2e", "~252e~252e"),
        ("~tmp", "~7etmp"),
        ("é", "~c3~a9"),
        ("a_b-c", "a_b-c"),
    ],
)
def test_the_stored_form_of_a_name_stays_as_it_is(name: str, segment: str) -> None:
    # These are on disks already: a change would lose the namespaces.
    assert keys.encode_segment(name) == segment
    assert keys.namespace_prefix(name) == segment + "/"


@pytest.mark.parametrize(
    "segment", ["~61", "~2E", "~", "~2", "a~2eb", ".a", "a.", "A", "a/b", "", "~ff", "~tmp", "~probe"]
)
def test_a_second_spelling_of_a_name_is_refused(segment: str) -> None:
    with pytest.raises(InvalidPathError, match="is not an encoded name"):
        keys.decode_segment(segment)


def test_a_name_that_grows_too_long_is_refused_with_both_lengths() -> None:
    assert len(keys.encode_segment("a" * 200)) == 200
    with pytest.raises(InvalidPathError, match="takes 360 characters when stored; 200 is the most"):
        keys.encode_segment("é" * 60)
    with pytest.raises(InvalidPathError, match="an empty name cannot be stored"):
        keys.encode_segment("")
    with pytest.raises(InvalidPathError, match="half of a surrogate pair"):
        keys.encode_segment("a\ud800")


@pytest.mark.parametrize(
    "name", ["a", "a..b", "...", ".hidden", "%2e%2e", "%252e", "?versionId=1", "a:b", "日本", "\u202e", "~tmp"]
)
def test_every_name_that_is_no_path_is_a_namespace(name: str) -> None:
    assert keys.check_namespace(name) == name


@pytest.mark.parametrize("name", [".", "..", "/", "a/b", "../a", "/etc", "a\\b", "..\\a"])
def test_a_namespace_that_is_a_path_is_a_traversal(name: str) -> None:
    with pytest.raises(
        PathTraversalError, match=r"cannot be a namespace: a namespace is 1 to 128 characters"
    ) as caught:
        keys.check_namespace(name)
    assert caught.value.path == ascii(name)[1:-1]


@pytest.mark.parametrize("name", ["", "a" * 129, "a\0b", "a\nb", "\x7f", "\x85", "\ud800", "é" * 128, None, 5, b"a"])
def test_a_namespace_that_is_no_clean_text_is_refused(name: object) -> None:
    with pytest.raises(InvalidPathError) as caught:
        keys.check_namespace(name)  # type: ignore[arg-type]
    assert not isinstance(caught.value, PathTraversalError)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["1", "a/b", "../x", "Ünïcode", "a" * 512, " ", "日" * 512])
def test_an_id_is_data_and_may_look_like_a_path(text: str) -> None:
    assert keys.check_id(text) == text


@pytest.mark.parametrize(
    ("given_id", "found"),
    [
        ("", "got 0 characters"),
        ("a" * 513, "got 513 characters"),
        ("a\0", r"got 'a\x00'"),
        ("\ud800", r"got '\ud800'"),
        (7, "got a int"),
        (None, "got a NoneType"),
    ],
)
def test_a_bad_id_is_a_validation_error_that_says_what_is_expected(given_id: object, found: str) -> None:
    with pytest.raises(ValidationError) as caught:
        keys.check_id(given_id)  # type: ignore[arg-type]
    assert caught.value.field == "$id"
    expected = "$id: expected 1 to 512 characters of text without control characters, "
    assert str(caught.value) == expected + found


def test_exactly_one_namespace_is_taken_off_an_id() -> None:
    assert keys.split_id("posts/x", "posts") == "x"
    assert keys.split_id("posts/posts/x", "posts") == "posts/x"
    assert keys.split_id("x", "posts") == "x"
    assert keys.split_id("posts", "posts") == "posts"
    assert keys.split_id("postsx/1", "posts") == "postsx/1"
    assert keys.split_id("posts/", "posts") == ""


@pytest.mark.parametrize(
    "key", ["a", "ns/log/00000000000000000001", "a/b/c/d", "~probe/x/1", "~20/~2e~2e", "a.b/c-d_e"]
)
def test_a_key_of_encoded_segments_is_accepted(key: str) -> None:
    assert keys.check_key(key) == key


@pytest.mark.parametrize("key", ["../x", "a/../x", "/a", "..", ".", "a/.", "a\\b", "\\\\host\\share", "a/\0", "./a"])
def test_a_key_that_would_climb_is_a_traversal(key: str) -> None:
    with pytest.raises(PathTraversalError, match="would lead out of the database"):
        keys.check_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a/",
        "a//b",
        "A",
        "é",
        "a b",
        ".a",
        "a.",
        "~tmp/x",
        "~probe",
        "a/~probe/b",
        "~PROBE/a",
        "a" * 201,
        "a/" * 351,
        None,
    ],
)
def test_anything_else_is_no_key(key: str) -> None:
    with pytest.raises(InvalidPathError) as caught:
        keys.check_key(key)
    assert not isinstance(caught.value, PathTraversalError)


@pytest.mark.parametrize(
    "prefix", ["", "a", "a/", "a/b", "a/b/", "a.", "a/~", "a/~2", "~", "~probe/", "~probe/x", "ns/log/0"]
)
def test_a_prefix_may_stop_anywhere_in_a_key(prefix: str) -> None:
    assert keys.check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "//", "a//", "../", "a/../", ".", "..", "A", "a b", "~tmp/", "a\0", None])
def test_a_prefix_that_no_key_has_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidPathError):
        keys.check_prefix(prefix)


@given(texts)
def test_a_partition_folder_is_a_key_and_no_name(name: str) -> None:
    assert keys.check_key("logs/year=2026/month=01/0000-01j.parquet")
    assert keys.check_prefix("logs/year=2026/mon")
    assert keys.check_prefix("logs/year=2026/month=")
    assert "=" not in keys.encode_segment(name)
    assert not keys.is_segment("year=2026")
    with pytest.raises(InvalidPathError):
        keys.decode_segment("year=2026")


@pytest.mark.parametrize("key", ["year=", "=2026", "year=..", "year=2026=1", "Year=2026", "year=2.", "~year=1", "1=1"])
def test_what_is_no_plain_partition_is_no_key(key: str) -> None:
    assert not keys.is_key(f"logs/{key}/a")


def test_a_pathological_key_is_refused_quickly() -> None:
    with pytest.raises(InvalidPathError):
        keys.check_key("a." * 340 + "!")
    assert not keys.is_key("~aa" * 60 + "/" + "." * 100 + "!")


def test_limits_and_ranges_name_what_is_allowed() -> None:
    with pytest.raises(InvalidInputError, match="a limit of 1 to 1000 objects, not 0"):
        keys.check_limit(0)
    with pytest.raises(InvalidInputError, match="from 0 up, not -1 and 5"):
        keys.check_range(-1, 5)
