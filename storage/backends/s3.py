"""S3 and compatible stores. One request per call; what it came to is decided by HTTP status alone.

| status | create | write with a condition | reads |
|---|---|---|---|
| 2xx | landed | landed | the answer |
| 404 | refused: no bucket | mismatch: no object | no object; refused when there is no bucket |
| 409 | conflict, send again | conflict | refused |
| 412 | already exists | mismatch | - |
| 416 | - | - | empty: past the end |
| 501 | the store cannot do it | the store cannot do it | refused |
| other 3xx, 4xx | refused | refused | refused |
| 408, other 5xx, no answer | unknown | unknown | refused; without an answer, no network |
"""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from parquedb.errors import (
    AlreadyExistsError,
    ConcurrentModificationError,
    ConfigurationError,
    ETagMismatchError,
    InvalidInputError,
    NetworkError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    ParqueDBError,
    StorageReadError,
    StorageWriteError,
)
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.storage.backend import ListPage, ObjectInfo, StorageBackend
from parquedb.storage.backends.s3_client import Answer, S3Client, S3Options, answer_of
from parquedb.storage.backends.strays import STRAYS_MAX, Stray, StrayKind
from parquedb.storage.keys import check_folder, check_key, check_limit, check_prefix, check_range, is_key, is_segment

DIGEST_IN_LOOP_MAX = 64 << 10
"""Bytes whose digest takes less time (0.1 ms) than handing it to a thread."""

OBJECT_BYTES_MAX = 1 << 30
"""One PUT may carry 5 GiB; parts would lose the condition on most stores."""

FILE_BYTES_MAX = 5 << 30
"""What one PUT carries, for what is not held in memory."""

NOT_FOUND, CONFLICT, PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE, NOT_IMPLEMENTED = 404, 409, 412, 416, 501
OK, REQUEST_TIMEOUT, SERVER_ERRORS = 200, 408, 500

# What whoever meets these most likely has to mend.
_HINTS: dict[int | str | None, str] = {
    401: "are key and secret right?",
    403: "are key, secret and region right, and may they do this?",
    "NoSuchBucket": "the bucket has to be made first",
}


class S3Backend(StorageBackend):
    """One bucket, or a folder of it.

    Attributes:
        conditional_writes: `write(if_match=...)` is sent as `If-Match`; whether the store honours it, the probe tells.
    """

    name = "s3"
    conditional_writes = True

    def __init__(
        self, bucket: str, prefix: str = "", *, options: S3Options | None = None, timeout_s: float = 10.0
    ) -> None:
        """Describe the store; nothing is sent and no event loop is needed yet.

        Args:
            bucket: Must exist.
            prefix: Folder inside it, without slashes at its ends; used as it is.
            options: How to reach the store; None is AWS with the default credentials.
            timeout_s: For calls that bring no time of their own.
        """
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._timeout_s = timeout_s
        self._client = S3Client(options or S3Options())

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        """Return the whole object."""
        async with self._reading(check_key(key), timeout_s):
            return await self._get(key, None)

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        """Return bytes `start` (inclusive) to `start + length` (exclusive), cut at the object's end."""
        check_key(key)
        check_range(start, length)
        if length == 0:
            # HTTP has no empty range; what is left to find out is whether the object is there.
            await self.stat(key, timeout_s=timeout_s)
            return b""
        async with self._reading(key, timeout_s):
            try:
                return await self._get(key, (start, start + length))
            except Exception as error:
                if answer_of(error).status == RANGE_NOT_SATISFIABLE:
                    return b""
                raise

    async def _get(self, key: str, span: tuple[int, int] | None) -> bytes:
        ranged = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        answer = await self._call("get_object", Key=self._root + key, **ranged)
        async with answer["Body"] as stream:
            data: bytes = await stream.read()
        if len(data) != answer["ContentLength"]:
            raise NetworkError(f"the answer for {key!r} was cut short", key=key)
        if span is not None and answer["ResponseMetadata"]["HTTPStatusCode"] == OK:
            return data[span[0] : span[1]]  # A store without ranges sends everything.
        return data

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store `data` under a key that must not exist, by one PUT with `If-None-Match: *`.

        Raises:
            AlreadyExistsError: 412; perhaps because of an earlier attempt of this very write.
            ConcurrentModificationError: 409; not applied, send the same bytes again.
            StorageWriteError: another refusal; not applied.
            ConfigurationError: no credentials, or the store says it has no conditional writes.
            OutcomeUnknownError: no answer, or one that does not tell (5xx).
        """
        return await self._put(key, data, {"IfNoneMatch": "*"}, lambda answer: _taken(key, answer), timeout_s)

    async def create_file(self, key: str, path: Path, *, timeout_s: float | None = None) -> ObjectInfo:
        """Store the content of a file as `create` does, by one PUT that reads it while it is sent."""
        check_key(key)
        with path.open("rb") as file:
            size = path.stat().st_size
            if size > FILE_BYTES_MAX:
                raise InvalidInputError(f"{key!r} has {size} bytes; one PUT carries at most {FILE_BYTES_MAX}")
            digest = (await asyncio.to_thread(hashlib.file_digest, file, _md5)).digest()
            file.seek(0)
            condition = {"ContentMD5": base64.b64encode(digest).decode(), "IfNoneMatch": "*"}
            put = self._call("put_object", Key=self._root + key, Body=file, ContentLength=size, **condition)
            answer = await self._writing(key, put, lambda found: _taken(key, found), timeout_s)
        return ObjectInfo(key, size, _etag(answer.get("ETag")))

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        """Store `data`, replacing what is there; with `if_match`, only while the current etag equals it.

        Raises:
            ETagMismatchError: the object has another etag or is missing.
            ConcurrentModificationError, StorageWriteError, ConfigurationError, OutcomeUnknownError: as `create`.
        """

        def refusal(answer: Answer) -> ParqueDBError | None:
            mismatch = answer.status == PRECONDITION_FAILED or (
                answer.status == NOT_FOUND and answer.code != "NoSuchBucket"
            )
            return ETagMismatchError(key=key, expected=if_match) if if_match is not None and mismatch else None

        condition = {} if if_match is None else {"IfMatch": f'"{if_match}"'}
        return await self._put(key, data, condition, refusal, timeout_s)

    async def _put(
        self,
        key: str,
        data: bytes,
        condition: dict[str, str],
        refusal: Callable[[Answer], ParqueDBError | None],
        timeout_s: float | None,
    ) -> ObjectInfo:
        check_key(key)
        if len(data) > OBJECT_BYTES_MAX:
            raise InvalidInputError(f"{key!r} has {len(data)} bytes; an object holds at most {OBJECT_BYTES_MAX}")
        # A writer may die between headers and body, and without a digest SeaweedFS then stores an empty object (4.48).
        digest = _digest(data) if len(data) <= DIGEST_IN_LOOP_MAX else await asyncio.to_thread(_digest, data)
        put = self._call("put_object", Key=self._root + key, Body=data, ContentMD5=digest, **condition)
        answer = await self._writing(key, put, refusal, timeout_s)
        return ObjectInfo(key, len(data), _etag(answer.get("ETag")))

    async def verifies_uploads(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Whether the store refuses a body that is not the one its digest was made from; one that does not keeps it."""
        digest = _digest(b"what was sent")
        put = self._call("put_object", Key=self._root + check_key(key), Body=b"what arrived", ContentMD5=digest)
        try:
            await self._writing(key, put, lambda _: None, timeout_s)
        except StorageWriteError:
            return True
        return False

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        """Remove an object; a missing one is no error."""
        gone = self._call("delete_object", Key=self._root + check_key(key))
        await self._writing(key, gone, lambda _: None, timeout_s, absent_is_fine=True)

    async def abort_uploads(self, prefix: str, older_than_s: float, *, timeout_s: float | None = None) -> int:
        """Give up multipart uploads below `prefix` begun more than `older_than_s` ago; return how many."""
        check_folder(prefix)
        old: list[dict[str, str]] = []
        async with self._reading(prefix, timeout_s, bucket_only=True):
            async for item, server_s in self._uploads(prefix):
                if item["Initiated"].timestamp() <= server_s - older_than_s:
                    old.append({"Key": item["Key"], "UploadId": item["UploadId"]})
        for upload in old:
            gone = self._call("abort_multipart_upload", **upload)
            await self._writing(upload["Key"], gone, lambda _: None, timeout_s, absent_is_fine=True)
        return len(old)

    async def _uploads(self, prefix: str) -> AsyncIterator[tuple[dict[str, Any], float]]:
        """Yield the multipart uploads below `prefix`, each with the store's time."""
        page: dict[str, str] = {}
        while True:
            answer = await self._call("list_multipart_uploads", Prefix=self._root + prefix, **page)
            server_s = _server_s(answer, prefix)
            for item in answer.get("Uploads", []):
                # Some stores know no prefix here and tell of every upload.
                if item["Key"].startswith(self._root + prefix):
                    yield item, server_s
            if not answer.get("IsTruncated"):
                return
            page = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    async def strays(self, prefix: str, *, timeout_s: float | None = None) -> Sequence[Stray]:
        """Return uploads and foreign names below a namespace's prefix; see `parquedb.storage.backends.strays`.

        Of what lies beside the namespaces (an empty prefix) it tells nothing: a bucket may be shared. Nor of uploads
        where the credentials lack the right to list them.
        """
        found: list[Stray] = []
        if not check_folder(prefix):
            return found
        page: dict[str, str] = {}
        with contextlib.suppress(StorageReadError):
            async with self._reading(prefix, timeout_s, bucket_only=True):
                uploads = [item async for item, _ in self._uploads(prefix)]
            for item in uploads:
                name = item["Key"].removeprefix(self._root)
                found.append(Stray(StrayKind.UPLOAD, name, 0, item["Initiated"].timestamp()))
        while len(found) < STRAYS_MAX:
            async with self._reading(prefix, timeout_s, bucket_only=True):
                answer = await self._call("list_objects_v2", Prefix=self._root + prefix, **page)
            found += [
                Stray(StrayKind.FOREIGN, info.key, info.size, info.modified_s or 0.0)
                for info in map(self._info, answer.get("Contents", []))
                if not is_key(info.key)
            ]
            if not answer.get("IsTruncated"):
                break
            page = {"ContinuationToken": answer["NextContinuationToken"]}
        return found[:STRAYS_MAX]

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """List keys that start with `prefix` and sort after `after` (exclusive), at most `limit` (1 to 1 000).

        Objects whose names are no keys of ours are left out. `server_s` has a resolution of one second.
        """
        check_prefix(prefix)
        check_limit(limit)
        async with self._reading(prefix, timeout_s, bucket_only=True):
            while True:
                start = {} if after is None else {"StartAfter": self._root + after}
                answer = await self._call("list_objects_v2", Prefix=self._root + prefix, MaxKeys=limit, **start)
                contents = answer.get("Contents", [])
                infos = tuple(self._info(item) for item in contents)
                ours = tuple(info for info in infos if is_key(info.key))
                more = bool(answer.get("IsTruncated")) and bool(infos)
                if ours or not more:
                    return ListPage(ours, more, _server_s(answer, prefix))
                after = infos[-1].key

    def _info(self, item: dict[str, Any]) -> ObjectInfo:
        key = item["Key"].removeprefix(self._root)
        return ObjectInfo(key, item["Size"], _etag(item.get("ETag")), item["LastModified"].timestamp())

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Return the distinct next segments below `prefix` that have objects below them, sorted."""
        check_folder(prefix)
        full = self._root + prefix
        found: set[str] = set()
        page: dict[str, str] = {}
        async with self._reading(prefix, timeout_s, bucket_only=True):
            while True:
                answer = await self._call("list_objects_v2", Prefix=full, Delimiter="/", **page)
                found.update(item["Prefix"][len(full) : -1] for item in answer.get("CommonPrefixes", []))
                if not answer.get("IsTruncated"):
                    return tuple(sorted(name for name in found if is_segment(name)))
                page = {"ContinuationToken": answer["NextContinuationToken"]}

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        """Describe an object without reading it."""
        async with self._reading(check_key(key), timeout_s):
            answer = await self._call("head_object", Key=self._root + key)
            modified_s = answer["LastModified"].timestamp()
            return ObjectInfo(key, answer["ContentLength"], _etag(answer.get("ETag")), modified_s)

    async def close(self) -> None:
        """Close the connections that the running event loop opened."""
        await self._client.close()

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._client.call(operation, Bucket=self._bucket, **parameters)

    async def _writing(
        self,
        key: str,
        request: Awaitable[dict[str, Any]],
        refusal: Callable[[Answer], ParqueDBError | None],
        timeout_s: float | None,
        *,
        absent_is_fine: bool = False,
    ) -> dict[str, Any]:
        """Wait for a write and word what it came to."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await request
        except ParqueDBError:
            raise
        except TimeoutError as error:
            message = f"no answer to the write of {key!r} within {limit_s:g} s; it may still be stored"
            raise OutcomeUnknownError(message, key=key, cause=error) from error
        # Whatever else went wrong, the request may be on its way: only a readable answer makes it definite.
        except Exception as error:
            answer = answer_of(error)
            if absent_is_fine and answer.status == NOT_FOUND and answer.code != "NoSuchBucket":
                return {}
            raise (refusal(answer) or _write_error(key, answer, error)) from error

    @asynccontextmanager
    async def _reading(self, key: str, timeout_s: float | None, *, bucket_only: bool = False) -> AsyncIterator[None]:
        """Give a read its deadline and word what went wrong."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                yield
        except ParqueDBError:
            raise
        except TimeoutError as error:
            message = f"no answer to the read of {key!r} within {limit_s:g} s"
            raise NoAnswerError(message, timeout_s=limit_s, key=key, cause=error) from error
        except Exception as error:
            answer = answer_of(error)
            # A bucket that is gone says nothing about the object, and a missing object is taken as proof.
            if answer.status == NOT_FOUND and answer.code != "NoSuchBucket" and not bucket_only:
                raise ObjectNotFoundError(key=key, cause=error) from error
            if answer.status is None:
                message = f"no answer to the read of {key!r}: {answer.code}"
                raise NetworkError(message, key=key, cause=error) from error
            raise StorageReadError(_worded("read", key, answer), key=key, status=answer.status, cause=error) from error


def _write_error(key: str, answer: Answer, error: Exception) -> ParqueDBError:
    status = answer.status
    if status is None:
        message = f"no answer to the write of {key!r} ({answer.code}); it may still be stored"
        return OutcomeUnknownError(message, key=key, cause=error)
    if status == CONFLICT:
        return ConcurrentModificationError(key=key, cause=error)
    if status == NOT_IMPLEMENTED:
        message = f"the store has no conditional writes: it answered 501 {answer.code} for {key!r}"
        return ConfigurationError(message, setting="url", cause=error)
    if status >= SERVER_ERRORS or status == REQUEST_TIMEOUT:
        message = f"the store answered {status} {answer.code} to the write of {key!r}; it may still be stored"
        return OutcomeUnknownError(message, key=key, status=status, cause=error)
    return StorageWriteError(_worded("write", key, answer), key=key, status=status, cause=error)


def _worded(verb: str, key: str, answer: Answer) -> str:
    hint = _HINTS.get(answer.code) or _HINTS.get(answer.status)
    return f"the store refused to {verb} {key!r}: {answer.status} {answer.code}" + (f"; {hint}" if hint else "")


def _etag(value: str | None) -> str | None:
    return None if value is None else value.removeprefix("W/").strip('"')


def _server_s(answer: dict[str, Any], prefix: str) -> float:
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if date is None:
        # Our own clock would decide what is old enough to delete; it may be wrong by hours.
        raise StorageReadError(f"the store gave no Date with the listing of {prefix!r}", key=prefix)
    return parsedate_to_datetime(date).timestamp()


def _taken(key: str, answer: Answer) -> ParqueDBError | None:
    return AlreadyExistsError(key=key) if answer.status == PRECONDITION_FAILED else None


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
