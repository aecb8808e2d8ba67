"""API keys on a real engine: what is stored, what is shown, and for how long a revoked key still works."""

import asyncio
import pickle
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from parquedb.access.permissions import Permissions
from parquedb.access.reserved import API_KEYS, check_not_reserved, is_reserved
from parquedb.clock import ManualClock
from parquedb.cluster.gateway.access import api_key_text
from parquedb.cluster.gateway.access.api_key_text import new_key, read_key
from parquedb.cluster.gateway.access.api_key_verifier import ApiKeyVerifier
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.errors import (
    AuthenticationRequiredError,
    EntityNotFoundError,
    InvalidInputError,
    PermissionDeniedError,
    RpcUnavailableError,
    TokenExpiredError,
)
from parquedb.settings.access import AccessSettings
from tests.support.key_database import KeyDatabase


class Place:
    """A database with keys, and a gateway that verifies them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.database = KeyDatabase()
        self.keys = ApiKeys(self.database, self.clock)
        self.verifier = self.gateway()

    def gateway(self, **changes: Any) -> ApiKeyVerifier:
        return ApiKeyVerifier(self.keys, AccessSettings(api_keys=True, **changes), self.clock)

    async def refusal(self, text: str, kind: type[Exception] = AuthenticationRequiredError) -> str:
        with pytest.raises(kind) as caught:
            await self.verifier.principal(text)
        assert type(caught.value) is kind
        return str(caught.value)


@pytest.fixture
async def at() -> AsyncIterator[Place]:
    made = Place()
    yield made
    await made.verifier.close()
    await made.database.close()


# --- how a key is written


def test_a_key_has_a_prefix_an_id_and_256_random_bits() -> None:
    one, other = new_key(), new_key()
    assert re.fullmatch(r"pq_[0-9a-z]{16}_[0-9A-Za-z]{49}", one.text)
    assert one.text[3:19] == one.id != other.id
    assert one.text[20:] != other.text[20:]
    assert 62**43 > 2**256
    assert read_key(one.text) == one


def test_most_guesses_and_every_typing_error_are_told_by_the_checksum() -> None:
    text = new_key().text
    for place in range(len(text)):
        letter = "b" if text[place] == "a" else "a"
        assert read_key(text[:place] + letter + text[place + 1 :]) is None
    assert read_key(text[:30] + text[31] + text[30] + text[32:]) is None or text[30] == text[31]
    for odd in (text + "\n", " " + text, text.upper(), text[:-1], text + "a", "", "pq_", text.replace("pq_", "pq-")):
        assert read_key(odd) is None


def test_a_key_is_shown_by_its_id_alone() -> None:
    key = new_key()
    assert key.text[20:] not in repr(key)
    assert key.id in repr(key)


# --- issued, listed, revoked, rotated


async def test_an_issued_key_is_its_holder(at: Place) -> None:
    text, record = await at.keys.issue("billing", ["read:orders"], requests_max=7)
    principal = await at.verifier.principal(text)
    assert (principal.subject, principal.authenticated_by, principal.requests_max) == ("billing", "api_key", 7)
    assert principal.permissions == record.permissions == Permissions(["read:orders"])
    assert principal.expires_s is record.expires is None
    assert text.startswith(f"pq_{record.id}_")


async def test_nothing_that_is_stored_or_listed_shows_a_key(at: Place) -> None:
    text, record = await at.keys.issue("billing", ["read:orders"])
    secret = text[20:-6]
    assert secret.encode() not in at.database.stored()
    assert record.id.encode() in at.database.stored()
    shown = f"{await at.keys.list()} {record!r} {record.to_json()} {pickle.dumps(record)!r}"
    assert secret not in shown
    assert record.digest
    assert record.digest not in f"{record!r} {record.to_json()}"


@pytest.mark.parametrize(
    ("name", "permissions", "more"),
    [
        ("", ["read:x"], {}),
        ("x" * 201, ["read:x"], {}),
        ("a\nb", ["read:x"], {}),
        (7, ["read:x"], {}),
        ("a", ["fly:x"], {}),
        ("a", ["read:x"], {"expires_in": timedelta()}),
        ("a", ["read:x"], {"requests_max": 0}),
    ],
)
async def test_a_key_that_could_not_be_used_is_not_issued(at: Place, name: Any, permissions: Any, more: Any) -> None:
    with pytest.raises(InvalidInputError):
        await at.keys.issue(name, permissions, **more)
    assert await at.keys.list() == []


async def test_a_key_without_permissions_may_do_nothing(at: Place) -> None:
    text, _ = await at.keys.issue("nobody", [])
    assert (await at.verifier.principal(text)).permissions == Permissions()


async def test_a_permission_that_is_no_longer_known_grants_nothing(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"])
    await at.keys._documents.update(record.id, {"$push": {"permissions": "fly:x"}})
    assert (await at.verifier.principal(text)).permissions == Permissions(["read:x"])


async def test_a_key_expires(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"], expires_in=timedelta(seconds=3))
    assert (await at.verifier.principal(text)).expires_s == record.expires.timestamp()
    at.clock.advance(3)
    assert await at.refusal(text, TokenExpiredError) == "the API key has expired"


async def test_a_revoked_key_is_refused_within_the_bound(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"])
    await at.verifier.principal(text)
    revoked = await at.keys.revoke(record.id)
    assert revoked.revoked == at.clock.now()
    at.clock.advance(4.9)
    await at.verifier.principal(text)
    at.clock.advance(0.1)
    assert "revoked" in await at.refusal(text)
    again = await at.keys.revoke(record.id)
    assert again.revoked == revoked.revoked
    # And at a gateway that had not seen it, at once.
    at.verifier = at.gateway(api_key_cache_s=10)
    assert "revoked" in await at.refusal(text)


def test_nobody_can_be_told_of_a_revocation_later_than_after_ten_seconds() -> None:
    with pytest.raises(ValueError, match="less than or equal to 10"):
        AccessSettings(api_key_cache_s=11)


async def test_a_revoked_key_stays_revoked_for_whoever_opens_the_database_next(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"])
    await at.keys.revoke(record.id)
    at.database.reopen()
    assert "revoked" in await at.refusal(text)


async def test_a_rotated_key_works_beside_its_successor_for_a_while(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"], expires_in=timedelta(days=90), requests_max=9)
    at.clock.advance(86_400)
    new_text, new = await at.keys.rotate(record.id, overlap=timedelta(hours=1))
    assert new.id != record.id
    assert (new.name, new.permissions, new.requests_max) == (record.name, record.permissions, 9)
    assert new.expires == at.clock.now() + (record.expires - record.created)
    for one in (text, new_text):
        assert (await at.verifier.principal(one)).subject == "a"
    at.clock.advance(3600)
    assert "expired" in await at.refusal(text, TokenExpiredError)
    assert (await at.verifier.principal(new_text)).subject == "a"
    with pytest.raises(InvalidInputError, match="no longer valid"):
        await at.keys.rotate(record.id)


async def test_a_revoked_or_unknown_key_is_not_rotated(at: Place) -> None:
    _, record = await at.keys.issue("a", ["read:x"])
    await at.keys.revoke(record.id)
    with pytest.raises(InvalidInputError):
        await at.keys.rotate(record.id)
    for method in (at.keys.rotate, at.keys.revoke, at.keys.get):
        with pytest.raises(EntityNotFoundError):
            await method("0" * 16)
    assert len(await at.keys.list()) == 1


async def test_a_key_that_is_revoked_while_it_is_rotated_gets_no_successor(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"])
    _, outcome = await asyncio.gather(at.keys.revoke(record.id), at.keys.rotate(record.id), return_exceptions=True)
    assert isinstance(outcome, InvalidInputError)
    assert [key.id for key in await at.keys.list()] == [record.id]
    assert "revoked" in await at.refusal(text)


async def test_a_key_that_is_used_while_it_is_rotated_is_rotated_all_the_same(at: Place) -> None:
    _, record = await at.keys.issue("a", ["read:x"])
    _, (_, successor) = await asyncio.gather(at.keys.note_use(record.id), at.keys.rotate(record.id))
    assert {key.id for key in await at.keys.list()} == {record.id, successor.id}
    assert (await at.keys.get(record.id)).expires is not None


# --- attacks


async def test_a_wrong_secret_and_an_unknown_id_get_the_same_answer(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"])
    wrong = wrong_secret(record.id)
    messages = {
        await at.refusal(wrong),
        await at.refusal(new_key().text),
        await at.refusal("pq_x"),
        await at.refusal(""),
    }
    assert messages == {"the API key is not valid"}
    assert (await at.verifier.principal(text)).subject == "a"


def wrong_secret(key_id: str) -> str:
    """Return a well-formed key with this id and another secret."""
    checked = f"pq_{key_id}_{'A' * 43}"
    return checked + api_key_text._checksum(checked)


async def test_a_revoked_key_with_a_wrong_secret_is_not_told_that_it_was_revoked(at: Place) -> None:
    _, record = await at.keys.issue("a", ["read:x"])
    await at.keys.revoke(record.id)
    assert await at.refusal(wrong_secret(record.id)) == "the API key is not valid"


async def test_made_up_keys_are_looked_up_once_and_push_no_real_one_out(at: Place) -> None:
    at.verifier = at.gateway(api_keys_cached_max=4)
    text, _ = await at.keys.issue("a", ["read:x"])
    await at.verifier.principal(text)
    for _ in range(20):
        await at.refusal(new_key().text)
    ghost = new_key().text
    at.database.calls.clear()
    for _ in range(10):
        await at.refusal(ghost)
        await at.refusal(ghost[:-1] + ("a" if ghost[-1] != "a" else "b"))
    await at.verifier.principal(text)
    assert at.database.calls == [(API_KEYS, "get")]
    assert len(at.verifier._unknown) == 4


async def test_a_database_that_does_not_answer_is_not_taken_for_a_bad_key(at: Place) -> None:
    text, _ = await at.keys.issue("a", ["read:x"])
    await at.verifier.principal(text)
    at.database.refusal = RpcUnavailableError("away")
    await at.verifier.principal(text)
    at.clock.advance(5)
    await at.refusal(text, RpcUnavailableError)


# --- when it was used last


async def test_use_is_noted_once_an_hour(at: Place) -> None:
    at.clock.advance(600)
    text, record = await at.keys.issue("a", ["read:x"])
    for _ in range(5):
        await at.verifier.principal(text)
    await asyncio.gather(*at.verifier._notes.values())
    assert (await at.keys.get(record.id)).last_used == at.clock.now() - timedelta(minutes=10)
    assert at.database.calls.count((API_KEYS, "update")) == 1
    at.clock.advance(3600)
    await at.verifier.principal(text)
    await asyncio.gather(*at.verifier._notes.values())
    assert (await at.keys.get(record.id)).last_used == at.clock.now() - timedelta(minutes=10)


async def test_a_note_that_cannot_be_written_harms_nobody(at: Place) -> None:
    text, record = await at.keys.issue("a", ["read:x"])
    await at.verifier._entry(record.id)
    at.database.refusal = RpcUnavailableError("away")
    assert (await at.verifier.principal(text)).subject == "a"
    await asyncio.gather(*at.verifier._notes.values())
    at.database.refusal = None
    assert (await at.keys.get(record.id)).last_used is None


# --- where they lie


@pytest.mark.parametrize("namespace", [API_KEYS, "$", "$anything"])
def test_names_of_the_database_itself_are_reserved(namespace: str) -> None:
    assert is_reserved(namespace)
    with pytest.raises(PermissionDeniedError):
        check_not_reserved(namespace)


@pytest.mark.parametrize("namespace", ["orders", "a$", "\uff04api-keys", ".$api-keys", "%24api-keys"])
def test_names_that_merely_look_like_it_are_data(namespace: str) -> None:
    check_not_reserved(namespace)
