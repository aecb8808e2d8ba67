"""What a process shows owners: signed anew in time, never wider than what it was made from."""

import pytest

from parquedb.access.grants import Claims, GrantKeys, Verifier, sign, unverified
from parquedb.access.permissions import ALL, EVERYTHING, Permissions
from parquedb.cluster.runtime.naming import database_name
from parquedb.cluster.transport.credentials import Credentials
from parquedb.errors import ConfigurationError, PermissionDeniedError
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings

KEY = "k" * 32
READ = Permissions(["read:*"])


class Clock:
    def __init__(self) -> None:
        self.s = 1_000_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settings(**access: object) -> Settings:
    return load_settings("memory://x", access=access)


def shown(credentials: Credentials, clock: Clock) -> Claims:
    grant = credentials.grant()
    return Verifier(GrantKeys(database_name(settings()), (KEY,)), clock).verify(grant)


def allows(claims: Claims, operation: str, namespace: str = "posts") -> bool:
    return all(each.allows(operation, namespace) for each in claims.permissions)


def test_who_holds_the_key_shows_a_grant_for_everything(clock: Clock) -> None:
    claims = shown(Credentials(settings(keys=[KEY]), clock), clock)
    assert claims.permissions == (Permissions(EVERYTHING),)
    assert claims.until_s == clock.s + 300


def test_the_first_key_signs(clock: Clock) -> None:
    assert shown(Credentials(settings(keys=[KEY, "o" * 32]), clock), clock)


def test_a_grant_is_signed_once_and_anew_at_half_of_its_life(clock: Clock) -> None:
    credentials = Credentials(settings(keys=[KEY], lifetime_s=100), clock)
    first = credentials.grant()
    clock.s += 49
    assert credentials.grant() is first
    clock.s += 1
    second = credentials.grant()
    assert second != first
    assert unverified(str(second)).until_s == clock.s + 100


def test_a_clock_that_is_set_back_does_not_keep_an_old_grant(clock: Clock) -> None:
    credentials = Credentials(settings(keys=[KEY], lifetime_s=100), clock)
    credentials.grant()
    clock.s -= 1000
    assert shown(credentials, clock).until_s == clock.s + 100


@pytest.mark.parametrize("off_s", [-100, -20, 20, 100_000])
def test_a_clock_that_is_off_locks_nobody_out(off_s: float, clock: Clock) -> None:
    owner = Verifier(GrantKeys(database_name(settings()), (KEY,)), lambda: clock.s - off_s)
    credentials = Credentials(settings(keys=[KEY]), clock)
    for _ in range(20):
        assert owner.verify(credentials.grant())
        clock.s += 60


def test_permissions_of_ones_own_limit_what_is_signed(clock: Clock) -> None:
    credentials = Credentials(settings(keys=[KEY], permissions=["read:*"]), clock)
    assert shown(credentials, clock).permissions == (READ,)
    with pytest.raises(PermissionDeniedError):
        credentials.check("health")


def test_a_grant_that_was_given_is_shown_as_it_is_or_narrowed(clock: Clock) -> None:
    given = sign(KEY, database_name(settings()), Permissions(["write:posts", "read:posts"]), clock.s + 60)
    assert Credentials(settings(grant=given), clock).grant() == given
    claims = shown(Credentials(settings(grant=given, permissions=["read:*"]), clock), clock)
    assert allows(claims, "get")
    assert not allows(claims, "create")
    assert not allows(claims, "get", "other")


def test_who_has_nothing_shows_nothing_and_can_issue_nothing(clock: Clock) -> None:
    credentials = Credentials(settings(required=True), clock)
    assert credentials.grant() is None
    assert credentials.narrowed(READ).grant() is None
    with pytest.raises(ConfigurationError, match="signed with a key"):
        credentials.issue(READ, 60)


def test_what_is_no_grant_is_refused_at_once_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="expected a grant") as caught:
        Credentials(settings(grant="pqg1.rubbish"))
    assert "rubbish" not in repr([caught.value, caught.value.__cause__, caught.value.__context__])


def test_a_view_is_never_wider_than_what_it_was_made_from(clock: Clock) -> None:
    base = Credentials(settings(keys=[KEY], permissions=["read:*"]), clock)
    for view in (base.narrowed(Permissions([ALL])), base.narrowed(Permissions([ALL])).narrowed(Permissions([ALL]))):
        assert not allows(shown(view, clock), "create")
        permits = view.permits("posts")
        assert permits is not None
        with pytest.raises(PermissionDeniedError):
            view.check("create", "posts")
    both = base.narrowed(Permissions(["read:posts", "write:posts"])).narrowed(Permissions(["get:*", "create:*"]))
    claims = shown(both, clock)
    assert [allows(claims, each) for each in ("get", "find", "create")] == [True, False, False]


def test_a_view_renews_its_grant_with_that_of_its_base(clock: Clock) -> None:
    view = Credentials(settings(keys=[KEY], lifetime_s=100), clock).narrowed(READ)
    first = view.grant()
    assert view.grant() is first
    clock.s += 60
    assert shown(view, clock).until_s == clock.s + 100


def test_what_is_issued_holds_what_was_asked_and_no_more_than_the_issuer_has(clock: Clock) -> None:
    limited = Credentials(settings(keys=[KEY], permissions=["read:*"]), clock)
    claims = unverified(limited.narrowed(Permissions(["*:posts"])).issue(Permissions(["get:*", "create:*"]), 60))
    assert [allows(claims, each) for each in ("get", "find", "create")] == [True, False, False]
    assert not allows(claims, "get", "other")
    assert claims.until_s == clock.s + 60
    given = Credentials(settings(grant=limited.issue(READ, 60)), clock)
    assert unverified(given.issue(READ, 6000)).until_s == clock.s + 60


def test_credentials_found_later_count_for_the_views_made_before(clock: Clock) -> None:
    base = Credentials(settings(required=True), clock)
    view = base.narrowed(READ)
    base.adopt(settings(keys=[KEY], permissions=["*:posts"]))
    claims = shown(view, clock)
    assert [allows(claims, "get"), allows(claims, "get", "other"), allows(claims, "create")] == [True, False, False]
