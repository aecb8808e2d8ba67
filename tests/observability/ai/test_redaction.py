"""Redaction of what was said to models: what is masked, what is left, and that no text takes long."""

import time

import pytest

from parquedb.observability.ai.redaction import DEPTH_MAX, redact_text, redacted
from parquedb.observability.logs.redaction import MASK

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.b+c@mail.example.org today", f"write to {MASK} today"),
        ("(a@b.de)", f"({MASK})"),
        ("my key is sk-abcdefghijklmnop", f"my key is {MASK}"),
        (f"the token is {JWT}.", f"the token is {MASK}."),
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: {MASK}"),
        ("postgres://bob:hunter2@host/db", f"postgres://{MASK}@host/db"),
        ("card 4111 1111 1111 1111, thanks", f"card {MASK}, thanks"),
        (f"before {KEY} after", f"before {MASK} after"),
        ('{"password": "hunter2"}', f'{{"password": {MASK}}}'),
        ("the risk-averse skater met 3 people at 10:30", "the risk-averse skater met 3 people at 10:30"),
        ("max_tokens=512", "max_tokens=512"),
        ("an @ alone and a.b.c", "an @ alone and a.b.c"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_the_rest_is_left(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_values_of_telling_names_are_masked_whole() -> None:
    assert redacted({"api_key": [1, 2], "city": "Rome"}, redact_text) == {"api_key": MASK, "city": "Rome"}


def test_the_number_of_a_card_is_masked_where_it_is_a_number_too() -> None:
    said = {"card": 4111111111111111, "count": 411, "ok": True}
    assert redacted(said, redact_text) == {"card": MASK, "count": 411, "ok": True}


def test_what_is_nested_too_deeply_is_masked() -> None:
    deep: object = "a"
    for _ in range(DEPTH_MAX + 1):
        deep = [deep]

    assert MASK in str(redacted(deep, redact_text))


@pytest.mark.parametrize(
    "piece", ["aB3", "a.", "a-", "-eyJaaaaaaaa", "eyJaaaaaaaa.", "://a:", "a@", "sk-", "1 ", "password=", "bearer "]
)
def test_the_time_grows_with_the_length_of_a_text_and_not_with_its_square(piece: str) -> None:
    def took_s(characters: int) -> float:
        text = (piece * characters)[:characters]
        started = time.thread_time()
        redact_text(text)
        return time.thread_time() - started

    # A square would make 400 times of 20; the floor is for clocks that tick slowly.
    assert took_s(200_000) < 100 * max(min(took_s(10_000) for _ in range(3)), 0.001)
