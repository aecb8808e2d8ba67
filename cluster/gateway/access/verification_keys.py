"""Keys that signatures of tokens are checked with. What a key may be used for, its type says and never the token.

That is what stops a token from being checked by another rule than its key was made for: an RSA key, whose public half
anybody has, taken for the secret of an HMAC.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from parquedb.errors import ConfigurationError

RSA_BITS_MIN: Final = 2048
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
# By RFC 7518, section 3.2, a secret is at least as long as the hash.
_HASH_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
_KID_CHARS_MAX: Final = 256


@dataclass(frozen=True)
class VerificationKey:
    """One key.

    Attributes:
        key: As the library takes it; in no repr.
        algorithms: What it may check.
        kid: Its name where its issuer gave one.
    """

    key: Any = field(repr=False)
    algorithms: frozenset[str]
    kid: str | None = None


class KeySource(Protocol):
    """Knows keys."""

    async def candidates(self, algorithm: str, kid: str | None) -> Sequence[VerificationKey]:
        """Return the keys that may have signed a token, none if it is from somebody else.

        Raises:
            RpcUnavailableError: they cannot be had at present.
        """

    async def close(self) -> None:
        """Let go of connections and tasks."""


class ConfiguredKeys:
    """Keys from settings. They have no names, so all that fit are tried; there are a few at most."""

    def __init__(self, keys: Sequence[VerificationKey]) -> None:
        self._keys = keys

    async def candidates(self, algorithm: str, kid: str | None) -> Sequence[VerificationKey]:  # noqa: ARG002 - see above
        """Return the keys that fit an algorithm."""
        return [key for key in self._keys if algorithm in key.algorithms]

    async def close(self) -> None:
        """Nothing to let go of."""


def secret_key(secret: str) -> VerificationKey:
    """Return the key of a secret that both sides know."""
    raw = secret.encode()
    return VerificationKey(raw, frozenset(name for name, size in _HASH_BYTES.items() if len(raw) >= size))


def public_keys(pem: str, setting: str) -> list[VerificationKey]:
    """Return the keys of a text with PEM blocks.

    Raises:
        ConfigurationError: it holds none, or one that no signature of tokens is made with; names `setting`.
    """
    keys = []
    for number, block in enumerate(_PEM.finditer(pem), 1):
        try:
            key: object = load_pem_public_key(block[0].encode())
        except (ValueError, UnsupportedAlgorithm):
            key = None
        algorithms = _algorithms(key)
        if not algorithms:
            expected = f"RSA of {RSA_BITS_MIN} bits or more, P-256, P-384, P-521, Ed25519 or Ed448"
            raise ConfigurationError(f"{setting}: key {number} is no public key of {expected}", setting=setting)
        keys.append(VerificationKey(key, algorithms))
    if not keys:
        raise ConfigurationError(
            f"{setting}: expected blocks that begin with -----BEGIN PUBLIC KEY-----", setting=setting
        )
    return keys


def published_key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """Return a key of a JWKS; None if it is not for signatures, unsafe, or of an unknown type."""
    kid, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if not (kid is None or (isinstance(kid, str) and len(kid) <= _KID_CHARS_MAX)):
        return None
    # Secrets are never published (`oct`).
    if jwk.get("kty") not in {"RSA", "EC", "OKP"}:
        return None
    try:
        key = jwt.PyJWK({**jwk, "alg": None}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    # None for a key whose private half is published (`d`): that one is everybody's.
    algorithms = _algorithms(key)
    if "alg" in jwk:
        algorithms &= frozenset({jwk["alg"]} if isinstance(jwk["alg"], str) else ())
    return VerificationKey(key, algorithms, kid) if algorithms else None


def _algorithms(key: object) -> frozenset[str]:
    """Return what a public key may check; nothing for one that is too weak or no public key."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA if key.key_size >= RSA_BITS_MIN else frozenset()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return frozenset({_CURVES[key.curve.name]}) if key.curve.name in _CURVES else frozenset()
    return frozenset({"EdDSA"}) if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) else frozenset()
