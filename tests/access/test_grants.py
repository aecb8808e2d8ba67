"""Grants: what is signed is allowed, narrowing only takes away, and whatever else anybody makes up is refused."""

import base64
import itertools
import random

import pytest

from parquedb.access import grants
from parquedb.access.grants import BLOCKS_MAX, LEEWAY_S, VERIFIED_MAX, GrantKeys, Verifier, narrow, sign, unverified
from parquedb.access.permissions import ALL, Permissions
from parquedb.errors import AuthenticationRequiredError, InvalidInputError, TokenExpiredError

KEY, OTHER_KEY = "k" * 32, "o" * 32
READ = Permissions(["read:orders"])


class Clock:
    def __init__(self) -> None:
        self.s = 1_000_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(clock: Clock) -> Verifier:
    return Verifier(GrantKeys("db", (KEY,)), clock)


def grant_of(*entries: str, key: str = KEY, database: str = "db", until_s: float = 1_000_100) -> str:
    return sign(key, database, Permissions(entries), until_s)


def raw_of(grant: str) -> bytes:
    encoded = grant.removeprefix("pqg1.")
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def test_a_signed_grant_says_what_was_signed(verifier: Verifier) -> None:
    claims = verifier.verify(grant_of("read:orders", "write:a*"))
    assert claims.permissions == (Permissions(["write:a*", "read:orders"]),)
    assert (claims.database, claims.until_s) == ("db", 1_000_100)
    assert unverified(grant_of("read:orders")).permissions == (READ,)


@pytest.mark.parametrize("entries", list(itertools.permutations(["read:a", "write:b", "find:c"])))
def test_equal_permissions_make_equal_grants_whatever_their_order(entries: tuple[str, ...]) -> None:
    assert grant_of(*entries) == grant_of("read:a", "write:b", "find:c")


@pytest.mark.parametrize(
    "grant",
    [
        None,
        "",
        "x",
        "AQ",
        "é",
        b"bytes",
        7,
        grant_of("*:*", key=OTHER_KEY),
        grant_of("*:*", key=""),
        "pqg1.",
        "pqg1." + "A" * 70_000,
    ],
)
def test_what_nobody_here_has_signed_is_refused(verifier: Verifier, grant: object) -> None:
    with pytest.raises(AuthenticationRequiredError):
        verifier.verify(grant)  # type: ignore[arg-type]


def test_a_grant_for_another_database_is_refused(verifier: Verifier) -> None:
    with pytest.raises(AuthenticationRequiredError, match="another database"):
        verifier.verify(grant_of("*:*", database="elsewhere"))


def test_every_changed_or_missing_character_is_noticed(verifier: Verifier) -> None:
    grant = narrow(grant_of("read:orders"), READ, 1_000_050)
    raw = raw_of(grant)
    rng = random.Random(1)
    for at in range(len(raw)):
        bent = raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]
        with pytest.raises(AuthenticationRequiredError):
            verifier.verify("pqg1." + base64.urlsafe_b64encode(bent).decode().rstrip("="))
    for length in range(len(grant)):
        with pytest.raises(AuthenticationRequiredError):
            verifier.verify(grant[:length])
    assert verifier.verify(grant)


def test_a_narrowed_grant_needs_the_permission_of_every_block(verifier: Verifier) -> None:
    claims = verifier.verify(narrow(grant_of("read:orders"), Permissions([ALL]), 2_000_000))
    assert not all(each.allows("create", "orders") for each in claims.permissions)
    assert all(each.allows("get", "orders") for each in claims.permissions)
    assert claims.until_s == 1_000_100


def test_a_narrowed_grant_ends_earlier_when_told_so(verifier: Verifier, clock: Clock) -> None:
    grant = narrow(grant_of("*:*"), READ, 1_000_010)
    clock.s = 1_000_010 + LEEWAY_S
    with pytest.raises(TokenExpiredError):
        verifier.verify(grant)
    assert verifier.verify(grant_of("*:*"))


def test_nobody_can_take_a_block_away_again(verifier: Verifier) -> None:
    wide = grant_of("*:*")
    narrowed = narrow(wide, READ, 1_000_100)
    (blocks, mac), (_, wide_mac) = grants._taken_apart(narrowed), grants._taken_apart(wide)
    with pytest.raises(AuthenticationRequiredError):
        verifier.verify(grants._written(blocks[:1], mac))
    # Whoever has seen the wide one has it; from the narrowed one its MAC cannot be had.
    assert wide_mac not in raw_of(narrowed)


def test_a_grant_is_taken_until_its_end_and_a_little_longer_also_when_it_is_known(
    verifier: Verifier, clock: Clock
) -> None:
    grant = grant_of("read:orders")
    for clock.s in (1_000_000.0, 1_000_099.0, 1_000_100 + LEEWAY_S - 1):
        assert verifier.verify(grant).permissions == (READ,)
    clock.s = 1_000_100 + LEEWAY_S
    with pytest.raises(TokenExpiredError, match="the grant ended 30 s ago") as caught:
        verifier.verify(grant)
    assert caught.value.http_status == 401


def test_a_signer_whose_clock_is_ahead_is_not_locked_out(verifier: Verifier) -> None:
    assert verifier.verify(grant_of("read:orders", until_s=1_000_000 + 86_400))


def test_any_of_the_keys_is_good_so_that_they_can_be_changed(clock: Clock) -> None:
    both = Verifier(GrantKeys("db", (KEY, OTHER_KEY)), clock)
    assert both.verify(grant_of("read:orders"))
    assert both.verify(grant_of("read:orders", key=OTHER_KEY))
    with pytest.raises(AuthenticationRequiredError):
        both.verify(grant_of("read:orders", key="t" * 32))


def test_without_keys_nothing_is_good(clock: Clock) -> None:
    with pytest.raises(AuthenticationRequiredError):
        Verifier(GrantKeys("db"), clock).verify(grant_of("*:*"))


def test_an_error_shows_neither_grant_nor_key(verifier: Verifier, clock: Clock) -> None:
    clock.s = 2_000_000
    for grant in (grant_of("read:orders"), grant_of("*:*", key=OTHER_KEY), grant_of("*:*", database="x"), "secret!"):
        with pytest.raises(AuthenticationRequiredError) as caught:
            verifier.verify(grant)
        told = f"{caught.value!r} {caught.value.to_json(stack=True)} {caught.value.__cause__!r}"
        assert not any(secret in told for secret in (grant, KEY, OTHER_KEY))


def test_verified_grants_are_remembered_and_no_more_than_so_many(verifier: Verifier) -> None:
    for number in range(VERIFIED_MAX + 10):
        verifier.verify(grant_of(f"read:n{number}"))
    assert len(verifier._verified) == VERIFIED_MAX
    assert verifier.verify(grant_of("read:n0"))


def test_a_grant_has_limits(verifier: Verifier) -> None:
    with pytest.raises(InvalidInputError, match="bytes"):
        sign(KEY, "db", Permissions(f"read:{'x' * 200}{number}" for number in range(900)), 1)
    grant = grant_of("*:*")
    for _ in range(BLOCKS_MAX - 1):
        grant = narrow(grant, READ, 1_000_100)
    assert verifier.verify(grant)
    with pytest.raises(InvalidInputError, match="narrowed 7 times"):
        narrow(grant, READ, 1_000_100)


def test_permissions_of_a_newer_release_allow_nothing_here(verifier: Verifier) -> None:
    block = grants._block({"database": "db", "permissions": ["teleport:*"], "until": 1_000_100})
    with pytest.raises(AuthenticationRequiredError):
        verifier.verify(grants._written([block], grants._mac(KEY.encode(), grants._CONTEXT + block)))


@pytest.mark.parametrize("payload", [b"", b"\x91\xc0", b"g", b"\xdc" + b"x" * 100_000])
def test_a_grant_travels_in_front_of_a_payload(payload: bytes) -> None:
    grant = grant_of("read:orders")
    assert grants.taken_off(grants.put_before(payload, grant)) == (grant, payload)
    assert grants.taken_off(b"\x90") == (None, b"\x90")
