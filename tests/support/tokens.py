"""Real tokens, signed with real keys, and an issuer that publishes them over HTTP."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE = "https://issuer.example", "parquedb"
SECRET = "canary-hmac-secret-of-enough-bytes-for-every-hash-0123456789abcdef"


@cache
def private_key(kind: str) -> Any:
    """Return a key of a kind (`RS256`, `PS384`, `ES256`, `EdDSA`, ...); one for each family and curve."""
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("ES"):
        return ec.generate_private_key({"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[kind]())
    return SECRET if kind.startswith("HS") else rsa_key()


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(key: Any) -> str:
    """Return the public half of a key."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(kind: str, kid: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the public half of a key as a JWKS has it."""
    algorithm = jwt.get_algorithm_by_name(kind)
    made = json.loads(algorithm.to_jwk(private_key(kind).public_key()))
    return {
        **{name: value for name, value in made.items() if name != "key_ops"},
        **({"kid": kid} if kid else {}),
        **changes,
    }


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims with changes; a change to None leaves the claim out."""
    now_s = int(time.time())
    good = {
        "sub": "ada",
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now_s,
        "exp": now_s + 600,
        "permissions": ["read:orders", "write:orders"],
        **changes,
    }
    return {name: value for name, value in good.items() if value is not None}


def token(kind: str = "HS256", *, headers: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key or private_key(kind), algorithm=kind, headers=headers)


def forged(header: dict[str, Any], payload: bytes | dict[str, Any], signature: bytes = b"x" * 32) -> str:
    """Return a token put together by hand."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    parts = (json.dumps(header).encode(), body, signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


class Issuer:
    """An ASGI application that publishes keys, and misbehaves as told.

    Attributes:
        keys: What it publishes.
        requests: Paths that it was asked for.
        status: The status of its answers.
        headers: More fields of them.
        body: The body instead of the keys.
        gate: Every request waits for it.
    """

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.requests: list[str] = []
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: bytes | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests.append(scope["path"])
        await self.gate.wait()
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an application on a free port of this machine; yields its address."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.005)  # The server announces that it has begun by this flag alone.
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"{'https' if config.is_ssl else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
