"""Grants: permissions that travel with a call, signed, so that an owner need not know who calls.

    grant = "pqg1." base64url( MAC | block | block ... )            block = length (2 bytes) | JSON
    first block   {"database": ..., "permissions": [...], "until": unix seconds}
    others        {"permissions": [...], "until": ... or no such field}      each allows no more than those before it

The MAC of the first block is made with a key that signers and owners share; that of each further one with the MAC in
front of it. So whoever holds a grant can narrow it without the key, and nobody can widen one: an operation needs the
permission of every block. A grant is a bearer's: who has it may use it until it expires, on that database.

Source: Birgisson et al., "Macaroons" (NDSS 2014), of which this is the part without third parties.
"""

import base64
import binascii
import hmac
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from parquedb.access.permissions import Permissions
from parquedb.errors import AuthenticationRequiredError, InvalidInputError, TokenExpiredError

LEEWAY_S: Final = 30.0
"""Seconds after its end in which a grant is still taken: clocks of two machines differ."""

GRANT_CHARS_MAX: Final = 65_535
BLOCKS_MAX: Final = 8
VERIFIED_MAX: Final = 1024
"""Grants that an owner remembers having verified (count); some 2 KiB each."""

_PREFIX: Final = "pqg1."
"""Version, and what a grant is known by in a text from which it has to be taken out."""

_CONTEXT: Final = b"parquedb grant 1\0"
_MAC_BYTES: Final = 32
_LENGTH_BYTES: Final = 2
_MARK: Final = b"g"
"""First byte of a payload with a grant; the one of a payload without begins a list of MessagePack, never this."""

_INVALID: Final = "the grant is not valid here: it was not signed with a key of this database, or has been changed"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a grant says.

    Attributes:
        database: The database it is for (`database_digest`).
        permissions: One set for each block; an operation needs all of them.
        until_s: When it ends, unix seconds.
    """

    database: str
    permissions: tuple[Permissions, ...]
    until_s: float


@dataclass(frozen=True, slots=True)
class GrantKeys:
    """What an owner needs to verify grants.

    Attributes:
        database: The database that it serves a namespace of.
        keys: Any of them may have signed.
    """

    database: str
    keys: tuple[str, ...] = field(default=(), repr=False)


def sign(key: str, database: str, permissions: Permissions, until_s: float) -> str:
    """Return a grant for a database.

    Args:
        key: Shared with the owners.
        database: See `Claims`.
        permissions: What it allows.
        until_s: When it ends, unix seconds; rounded up.

    Raises:
        InvalidInputError: there are too many permissions for one grant.
    """
    block = _block({"database": database, "permissions": permissions.entries, "until": math.ceil(until_s)})
    return _written([block], _mac(key.encode(), _CONTEXT + block))


def narrow(grant: str, permissions: Permissions, until_s: float | None = None) -> str:
    """Return a grant that allows what another one does and these permissions do.

    Args:
        grant: The other one.
        permissions: What is left of it.
        until_s: When it ends, if that is before the other one does.

    Raises:
        InvalidInputError: there is no room for more.
        AuthenticationRequiredError: that is no grant.
    """
    blocks, mac = _taken_apart(grant)
    ends = {} if until_s is None else {"until": math.ceil(until_s)}
    block = _block({"permissions": permissions.entries, **ends})
    return _written([*blocks, block], _mac(mac, block))


def unverified(grant: str) -> Claims:
    """Return what a grant says, whoever signed it: for its holder, who could not verify it.

    Raises:
        AuthenticationRequiredError: that is no grant.
    """
    return _claims(_taken_apart(grant)[0])


def put_before(payload: bytes, grant: str) -> bytes:
    """Return the payload of a call with a grant in front, for `taken_off`.

    An argument of its own would take a twentieth of the time of a call.
    """
    return b"".join((_MARK, len(grant).to_bytes(_LENGTH_BYTES), grant.encode(), payload))


def taken_off(payload: bytes) -> tuple[str | None, bytes]:
    """Return the grant in front of a payload, if there is one, and the payload without it.

    Raises:
        AuthenticationRequiredError: there is the beginning of one.
    """
    if not payload.startswith(_MARK):
        return None, payload
    start = len(_MARK) + _LENGTH_BYTES
    end = start + int.from_bytes(payload[len(_MARK) : start])
    if end > len(payload):
        raise AuthenticationRequiredError(_INVALID)
    return payload[start:end].decode(errors="replace"), payload[end:]


class Verifier:
    """Tells whether grants are good. Threads may share it.

    Args:
        keys: Of an owner.
        now: Unix seconds.
    """

    def __init__(self, keys: GrantKeys, now: Callable[[], float] = time.time) -> None:
        self._keys = tuple(key.encode() for key in keys.keys)
        self._database = keys.database
        self._now = now
        self._verified: dict[str, Claims] = {}
        self._lock = threading.Lock()

    def verify(self, grant: str | None) -> Claims:
        """Return what a grant says.

        Raises:
            AuthenticationRequiredError: there is none, or it is not valid here.
            TokenExpiredError: it has ended.
        """
        claims = self._verified.get(grant) if isinstance(grant, str) else None
        if claims is None:
            claims = self._looked_at(grant)
        if self._now() >= claims.until_s + LEEWAY_S:
            raise TokenExpiredError(f"the grant ended {self._now() - claims.until_s:.0f} s ago")
        return claims

    def _looked_at(self, grant: object) -> Claims:
        if grant is None:
            raise AuthenticationRequiredError("this database asks for a grant, and the call brings none")
        if not isinstance(grant, str):
            raise AuthenticationRequiredError(f"a grant is a text, not a {type(grant).__name__}")
        blocks, mac = _taken_apart(grant)
        # Every key is tried, and compared in constant time: how long this takes tells nothing of them.
        signed = [hmac.compare_digest(_chain(key, blocks), mac) for key in self._keys]
        if not any(signed):
            raise AuthenticationRequiredError(_INVALID)
        claims = _claims(blocks)
        if claims.database != self._database:
            raise AuthenticationRequiredError("the grant is for another database")
        with self._lock:
            while len(self._verified) >= VERIFIED_MAX:
                del self._verified[next(iter(self._verified))]
            self._verified[grant] = claims
        return claims


def _chain(key: bytes, blocks: Sequence[bytes]) -> bytes:
    mac = _mac(key, _CONTEXT + blocks[0])
    for block in blocks[1:]:
        mac = _mac(mac, block)
    return mac


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _block(says: dict[str, Any]) -> bytes:
    block = json.dumps(says, separators=(",", ":"), sort_keys=True).encode()
    if len(block) >> 8 * _LENGTH_BYTES:
        raise InvalidInputError(f"the permissions take {len(block)} bytes; a grant has room for {GRANT_CHARS_MAX}")
    return block


def _written(blocks: Sequence[bytes], mac: bytes) -> str:
    if len(blocks) > BLOCKS_MAX:
        raise InvalidInputError(f"a grant can be narrowed {BLOCKS_MAX - 1} times")
    sized = [part for block in blocks for part in (len(block).to_bytes(_LENGTH_BYTES), block)]
    grant = _PREFIX + base64.urlsafe_b64encode(b"".join([mac, *sized])).decode().rstrip("=")
    if len(grant) > GRANT_CHARS_MAX:
        raise InvalidInputError(f"the permissions make a grant of {len(grant)} characters; {GRANT_CHARS_MAX} is most")
    return grant


def _taken_apart(grant: str) -> tuple[list[bytes], bytes]:
    """Return the blocks and the MAC of a grant; the MAC is not looked at."""
    prefix, encoded = grant[: len(_PREFIX)], grant[len(_PREFIX) : GRANT_CHARS_MAX]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise AuthenticationRequiredError(_INVALID) from None
    at, mac = _MAC_BYTES, raw[:_MAC_BYTES]
    blocks: list[bytes] = []
    while at < len(raw) and len(blocks) < BLOCKS_MAX:
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(raw[at:start])
        blocks.append(raw[start:end])
        at = end
    if prefix != _PREFIX or not blocks or at != len(raw) or len(grant) > GRANT_CHARS_MAX:
        raise AuthenticationRequiredError(_INVALID)
    return blocks, mac


def _claims(blocks: Sequence[bytes]) -> Claims:
    try:
        says = [json.loads(block) for block in blocks]
        permissions = tuple(Permissions(each["permissions"]) for each in says)
        ends = [float(says[0]["until"]), *(float(each["until"]) for each in says if "until" in each)]
        return Claims(str(says[0]["database"]), permissions, min(ends))
    except (ValueError, KeyError, TypeError, InvalidInputError):
        # A grant of a newer release may name what this one does not know: it allows nothing here.
        raise AuthenticationRequiredError(_INVALID) from None
