"""Callers who are not who they say: nothing of theirs is carried out, and they learn nothing from the answer."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from parquedb.settings.access import AccessSettings
from tests.support.hostile import VICTIM, Stage, staged
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, claims, forged, token

DELETE = ("DELETE", f"/v1/{VICTIM}/documents/one?hard=true", b"")
REQUESTS = [
    DELETE,
    ("GET", f"/v1/{VICTIM}/documents/one", b""),
    ("GET", f"/v1/{VICTIM}", b""),
    ("GET", "/v1", b""),
    ("GET", "/metrics", b""),
    ("GET", f"/v1/{VICTIM}/export", b""),
    ("GET", f"/v1/{VICTIM}/changes", b""),
    ("POST", f"/v1/{VICTIM}/find", b"{}"),
    ("POST", f"/v1/{VICTIM}/operations", b'{"operations": [{"op": "delete", "id": "one", "hard": true}]}'),
    ("POST", f"/v1/{VICTIM}/import", b""),
    ("PUT", f"/v1/{VICTIM}/schema", b'{"schema": {"a": "string!"}}'),
]
ACCESS = AccessSettings(
    jwt_secrets=(SecretStr(SECRET),), jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), api_keys=True, failures_max=1_000_000
)


def credentials() -> dict[str, dict[str, str]]:
    """What may not open the door, by what is wrong with it."""
    now_s = int(time.time())
    good, everything = token(permissions=["*:*"]), {"permissions": ["*:*"]}
    header, payload, signature = good.split(".")
    bearers = {
        "nothing": "",
        "only the scheme": "Bearer",
        "another scheme": f"Basic {good}",
        "no scheme": good,
        "two tokens": f"Bearer {good} {good}",
        "a list": f"Bearer {good}, Bearer {good}",
        "no signature": f"Bearer {header}.{payload}.",
        "half a signature": f"Bearer {header}.{payload}.{signature[:20]}",
        "another payload": f"Bearer {header}.{token(sub='eve', **everything).split('.')[1]}.{signature}",
        "no algorithm": f"Bearer {forged({'alg': 'none'}, claims(**everything), b'')}",
        "an algorithm by another name": f"Bearer {forged({'alg': 'nOnE'}, claims(**everything), b'')}",
        "a key of its own": f"Bearer {forged({'alg': 'HS256', 'jwk': {'kty': 'oct', 'k': ''}}, claims(**everything))}",
        "a key elsewhere": f"Bearer {forged({'alg': 'RS256', 'jku': 'http://127.0.0.1:1/'}, claims(**everything))}",
        "a key id that climbs": f"Bearer {forged({'alg': 'HS256', 'kid': '../../../dev/null'}, claims(**everything))}",
        "an extension that counts": f"Bearer {token(headers={'crit': ['x'], 'x': 1}, **everything)}",
        "another secret": f"Bearer {token(key='k' * 64, **everything)}",
        "over": f"Bearer {token(exp=now_s - 3600, **everything)}",
        "without an end": f"Bearer {token(exp=None, **everything)}",
        "not yet": f"Bearer {token(nbf=now_s + 3600, **everything)}",
        "another issuer": f"Bearer {token(iss='https://evil.example', **everything)}",
        "another audience": f"Bearer {token(aud='others', **everything)}",
        "a time that is none": f"Bearer {forged({'alg': 'HS256'}, claims(**everything, exp='soon'))}",
        "deep claims": f"Bearer {forged({'alg': 'HS256'}, b'[' * 5000 + b']' * 5000)}",
        "claims that are no object": f"Bearer {forged({'alg': 'HS256'}, b'7')}",
        "a giant": "Bearer " + "a" * 20_000,
        "dots": "Bearer " + "." * 5_000,
        "look-alike letters": f"Bearer {good[:-1]}\xe0",
    }
    keys = ("", "pq", "pq_a", "pq_a_b", "pq_" + "a" * 500, "pq_../../x_" + "b" * 43, "pq_a_" + "b" * 43, "' OR 1=1 --")
    return {
        **{name: {"Authorization": value} for name, value in bearers.items()},
        **{f"the key {key[:20]!r}": {"X-API-Key": key} for key in keys},
        "a token as a key": {"X-API-Key": good},
        "a key as a token": {"Authorization": "Bearer pq_a_" + "b" * 43},
    }


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, access=ACCESS) as made:
        yield made


async def test_whoever_proves_nothing_gets_nothing(stage: Stage) -> None:
    faults = []
    for name, headers in {"no proof": {}, **credentials()}.items():
        for method, target, body in REQUESTS:
            answer = await stage.ask(method, target, body, headers)
            # Where even the headers are too long nobody has looked at them.
            faults += stage.faults_of(answer, (name, method, target), statuses=[401, 431])
            proof = "".join(headers.values())
            if len(proof) > 30 and proof[10:] in answer.text:
                faults.append(f"the proof of {name!r} is told to whoever reads the answer")
    await stage.check(faults)
    assert await stage.database[VICTIM].get("one") is not None


async def test_whoever_may_do_something_else_is_refused_by_name(stage: Stage) -> None:
    for permissions in ([], ["read:posts"], ["*:victi"], ["*:victim2"], ["*:Victim"], ["create:*"]):
        proof = {"Authorization": f"Bearer {token(permissions=permissions)}"}
        answer = await stage.ask(*DELETE, proof)
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "PERMISSION_DENIED"), permissions
        inner = b'{"operations": [{"op": "delete", "id": "one", "hard": true}]}'
        await stage.ask("POST", f"/v1/{VICTIM}/operations", inner, proof)
        await stage.ask("POST", f"/v1/{VICTIM}/batch", inner, proof)
        assert await stage.database[VICTIM].get("one") is not None
    await stage.check([])


async def test_no_permission_reaches_what_the_database_keeps_for_itself(stage: Stage) -> None:
    proof = {"Authorization": f"Bearer {token(permissions=['*:*'])}"}
    faults = []
    for name in ("$keys", "%24keys", "$parquedb", "$", "%24%24"):
        for method, target, body in (
            ("GET", f"/v1/{name}", b""),
            ("POST", f"/v1/{name}", b"{}"),
            ("POST", f"/v1/{name}/find", b"{}"),
            ("GET", f"/v1/{name}/documents/a", b""),
            ("GET", f"/v1/{name}/export", b""),
            ("POST", f"/v1/{name}/operations", b'{"operations": [{"op": "find"}]}'),
        ):
            answer = await stage.ask(method, target, body, proof)
            faults += stage.faults_of(answer, (method, target), statuses=[400, 403, 404])
    await stage.check(faults)


async def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    access = AccessSettings(
        jwt_secrets=(SecretStr(SECRET),), jwt_issuer=ISSUER, jwt_audience=(AUDIENCE,), failures_max=5
    )
    async with staged(tmp_path, access=access) as stage:
        answers = [await stage.ask("GET", "/v1", b"", {"Authorization": f"Bearer {n}.a.b"}) for n in range(10)]
        assert [answer.status for answer in answers] == [401] * 5 + [429] * 5
        assert int(answers[-1].headers["retry-after"]) > 0
