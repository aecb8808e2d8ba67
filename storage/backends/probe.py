"""Whether an unknown store keeps the promises that the commit protocol rests on; asked once, before it is trusted.

A store that ignores a condition answers 200 like any other, so only trying tells.
"""

import contextlib
import uuid

from parquedb.errors import (
    AlreadyExistsError,
    ConfigurationError,
    ETagMismatchError,
    ObjectNotFoundError,
    ParqueDBError,
)
from parquedb.observability.logs import get_logger
from parquedb.storage.backend import StorageBackend
from parquedb.storage.keys import PROBE_FOLDER

_log = get_logger(__name__)


async def probe(backend: StorageBackend) -> None:
    """Try the store under a random key below `~probe/`, and clean up.

    Raises:
        ConfigurationError: it overwrites on a create, loses or alters what it took, keeps what was damaged on its way,
            lists late or out of order, or ignores `If-Match` although the backend counts on it (its attribute
            `conditional_writes`).
        ParqueDBError: the store could not be asked; this says nothing about it.
    """
    folder = f"{PROBE_FOLDER}/{uuid.uuid4().hex}"
    # Made in an order that is not the listing's. All in one folder, as logs and manifests are: SeaweedFS for one
    # sorts `a/1` before `a-1`, which nothing here depends on.
    keys = [f"{folder}/{name}" for name in ("b", "a-2", "a_1", "a-1", "a.1")]
    damaged = f"{folder}/damaged"
    try:
        await _check_create(backend, keys[0])
        for key in keys[1:]:
            await backend.create(key, b"probe")
        await _check_listing(backend, f"{folder}/", sorted(keys))
        if getattr(backend, "conditional_writes", True):
            await _check_stale_write(backend, keys[0])
        await _check_digest(backend, damaged)
    finally:
        for key in (*keys, damaged):
            with contextlib.suppress(ParqueDBError):
                await backend.delete(key)


async def _check_create(backend: StorageBackend, key: str) -> None:
    first, second = b"first " + key.encode(), b"second " + key.encode()
    await backend.create(key, first)
    try:
        await backend.create(key, second)
    except AlreadyExistsError:
        pass
    else:
        raise _unfit(
            backend,
            "it ignores If-None-Match: a second create of the same key was answered with success. Two owners of one "
            "namespace could then overwrite each other's commits, and acknowledged writes would be lost",
        )
    try:
        found = await backend.read(key)
    except ObjectNotFoundError:
        found = None
    if found != first:
        what = "nothing" if found is None else "the bytes of a refused create" if found == second else "other bytes"
        raise _unfit(backend, f"reading right after a create gave {what}; a commit could not be told from a lost one")


async def _check_listing(backend: StorageBackend, prefix: str, expected: list[str]) -> None:
    page = await backend.list(prefix)
    found = [info.key for info in page.objects]
    if sorted(found) != expected:
        raise _unfit(
            backend,
            f"a listing right after {len(expected)} creates showed {len(found)} objects; an owner that opens a "
            "namespace could miss its newest commits",
        )
    if found != expected:
        raise _unfit(backend, "it does not list keys in order, so the first page need not hold the newest commits")
    page = await backend.list(prefix, after=expected[1], limit=2)
    if [info.key for info in page.objects] != expected[2:4] or not page.more:
        raise _unfit(backend, "it does not continue a listing after a given key, or does not say that more follows")


async def _check_stale_write(backend: StorageBackend, key: str) -> None:
    try:
        await backend.write(key, b"stale", if_match="0" * 32)
    except ETagMismatchError:
        return
    raise _unfit(backend, "it ignores If-Match: a write against an outdated etag replaced the object")


async def _check_digest(backend: StorageBackend, key: str) -> None:
    if not await backend.verifies_uploads(key) or await backend.exists(key):
        raise _unfit(
            backend,
            "it ignores Content-MD5: bytes that do not match their digest were stored. A writer that dies in an upload"
            " could leave a cut log entry, and nobody could tell that from an acknowledged one that was damaged since",
        )


def _unfit(backend: StorageBackend, reason: str) -> ConfigurationError:
    _log.error("the %s store failed its probe", backend.name)
    return ConfigurationError(f"this {backend.name} store cannot hold a database: {reason}", setting="url")
