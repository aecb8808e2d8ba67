import pytest

from parquedb.cluster.gateway.access.credentials import CREDENTIAL_CHARS_MAX, bearer, credentials_in
from parquedb.errors import AuthenticationRequiredError

AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"


def test_what_a_request_says_is_returned_as_it_is() -> None:
    assert credentials_in([(b"host", b"x")]) == (None, None)
    assert credentials_in([(AUTHORIZATION, b"Bearer a b"), (API_KEY, b"k")]) == ("Bearer a b", "k")
    # An empty field is not an absent one.
    assert credentials_in([(AUTHORIZATION, b"")]) == ("", None)


@pytest.mark.parametrize("name", [AUTHORIZATION, API_KEY])
@pytest.mark.parametrize("value", [b"a\x00b", b"a\nb", b"a\rb", b"a\tb", b"a\x7f", b"\xc3\xa9", b"\xd0\xb0", b"\xff"])
def test_anything_but_visible_ascii_is_refused_and_not_repeated(name: bytes, value: bytes) -> None:
    with pytest.raises(AuthenticationRequiredError) as caught:
        credentials_in([(name, b"canary" + value)])
    assert "canary" not in str(caught.value)


def test_a_giant_field_is_refused() -> None:
    assert credentials_in([(API_KEY, b"a" * CREDENTIAL_CHARS_MAX)])[1] is not None
    with pytest.raises(AuthenticationRequiredError):
        credentials_in([(API_KEY, b"a" * (CREDENTIAL_CHARS_MAX + 1))])


@pytest.mark.parametrize("name", [AUTHORIZATION, API_KEY])
@pytest.mark.parametrize("values", [(b"a", b"a"), (b"", b"a"), (b"a", b"")])
def test_a_field_that_comes_twice_is_refused(name: bytes, values: tuple[bytes, bytes]) -> None:
    with pytest.raises(AuthenticationRequiredError, match="expected one"):
        credentials_in([(name, value) for value in values])


@pytest.mark.parametrize(
    "text",
    ["", "Bearer", "Bearer ", " Bearer x", "Bearer  x", "Bearer x ", "Bearer x y", "Basic x", "Bearerx", "Bearer,x y"],
)
def test_only_one_spelling_is_a_bearer_token(text: str) -> None:
    assert bearer("beARer x=") == "x="
    with pytest.raises(AuthenticationRequiredError):
        bearer(text)
