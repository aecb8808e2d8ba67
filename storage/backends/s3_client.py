"""An S3 client that sends each request exactly once and says what the server answered.

The libraries underneath would repeat a request in three places, and a repeated create-only PUT whose first answer was
lost comes back as a false "already exists". All three are switched off here; the layers above retry knowingly.

Source: s3fs `_error_wrapper` (class attribute `retries`), botocore retry configuration, aiohttp
`ClientSession._retry_connection` (aiohttp issue 10790).
"""

import asyncio
import contextlib
import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiobotocore.httpsession
import aiobotocore.session
import aiohttp
import s3fs
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from parquedb.errors import ConfigurationError

CONNECT_TIMEOUT_S = 5.0
# Each call has a deadline over everything; the libraries' limit per socket read must never come first.
SOCKET_READ_TIMEOUT_S = 3600.0

CREDENTIAL_ERRORS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound)


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach the store.

    Attributes:
        endpoint_url: `http(s)://host:port`; None is AWS.
        key: Access key id; None uses the default chain (environment, profile, instance role).
        secret: Secret access key; goes with `key`.
        region: Name that requests are signed for.
        pool_connections: Open connections per event loop; more calls wait.
    """

    endpoint_url: str | None = None
    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    pool_connections: int = 64


class Answer(NamedTuple):
    """What the server said to a request that failed.

    Attributes:
        status: HTTP status; None when no answer came.
        code: S3 error code of the body, or the status as text where there is no body (HEAD).
    """

    status: int | None
    code: str


def answer_of(error: BaseException) -> Answer:
    """Return the server's answer behind an error, decided by its HTTP status and never by class or message.

    s3fs turns equal answers into different exceptions (a 412 becomes `FileExistsError` or `OSError` by what the body
    holds), so only the response that botocore parsed counts.
    """
    source = error if isinstance(error, ClientError) else error.__cause__
    if not isinstance(source, ClientError):
        return Answer(None, type(error).__name__)
    status = source.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return Answer(status, str(source.response.get("Error", {}).get("Code", "")))


class NoHiddenRetry(aiobotocore.httpsession.AIOHTTPSession):  # type: ignore[misc]  # botocore carries no types
    """An HTTP session that does not send a PUT or DELETE again when the connection breaks."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        if not hasattr(session, "_retry_connection"):  # pragma: no cover - a future aiohttp
            raise ConfigurationError("this aiohttp hides its switch for repeated requests", setting="url")
        session._retry_connection = False  # aiohttp has no public switch; a test counts the requests.
        return session


class S3Client:
    """One file system object per event loop, made at first use: connections belong to the loop that opened them."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._by_loop: dict[asyncio.AbstractEventLoop, s3fs.S3FileSystem] = {}

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send one request and return botocore's parsed answer.

        Raises:
            ConfigurationError: no credentials, or a botocore that does not know the conditions; nothing was sent.
            OSError, botocore and aiohttp errors: see `answer_of`.
        """
        try:
            filesystem = await self._filesystem()
            answer: dict[str, Any] = await filesystem._call_s3(operation, **parameters)
        except CREDENTIAL_ERRORS as error:
            message = f"no usable S3 credentials: {error}; give key and secret, or set AWS_ACCESS_KEY_ID"
            raise ConfigurationError(message, setting="key", cause=error) from error
        return answer

    async def _filesystem(self) -> s3fs.S3FileSystem:
        loop = asyncio.get_running_loop()
        filesystem = self._by_loop.get(loop)
        if filesystem is None:
            filesystem = _new_filesystem(self._options)
            _check_conditions(await filesystem.set_session())
            # A closed loop took its connections along; its object would only keep the memory.
            self._by_loop = {other: kept for other, kept in self._by_loop.items() if not other.is_closed()}
            # Another task may have been here while this one waited; the first object stays.
            filesystem = self._by_loop.setdefault(loop, filesystem)
        return filesystem

    async def close(self) -> None:
        """Close the connections of the running loop; those of a loop that ended are gone with it."""
        filesystem = self._by_loop.pop(asyncio.get_running_loop(), None)
        if filesystem is not None and filesystem._s3 is not None:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await filesystem._s3.__aexit__(None, None, None)


@functools.cache
def _loader() -> Any:
    return aiobotocore.session.AioSession().get_component("data_loader")


def _new_filesystem(options: S3Options) -> s3fs.S3FileSystem:
    session = aiobotocore.session.AioSession()
    # The service descriptions are read once a process: 0.1 s of a blocked event loop otherwise, for every client.
    session.register_component("data_loader", _loader())
    filesystem = s3fs.S3FileSystem(
        session=session,
        key=options.key,
        secret=options.secret,
        endpoint_url=options.endpoint_url,
        asynchronous=True,
        # Else s3fs hands out one object per set of arguments, even to another thread's loop.
        skip_instance_cache=True,
        # Else listings are remembered for ever and answer, without a request, for what others wrote since.
        use_listings_cache=False,
        client_kwargs={"region_name": options.region},
        config_kwargs={
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "http_session_cls": NoHiddenRetry,
            "max_pool_connections": options.pool_connections,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": SOCKET_READ_TIMEOUT_S,
            "s3": {"addressing_style": "path"} if options.endpoint_url else {},
            # Checksums as trailers are unknown to many compatible stores.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
    )
    filesystem.retries = 1
    return filesystem


def _check_conditions(client: Any) -> None:
    members = client.meta.service_model.operation_model("PutObject").input_shape.members
    if not {"IfNoneMatch", "IfMatch"} <= set(members):  # pragma: no cover - needs a botocore we do not admit
        # s3fs drops parameters that botocore does not know: every create would overwrite and report success.
        raise ConfigurationError("this botocore does not know conditional writes; install 1.36 or newer", setting="url")
