"""One HTTP request on its way through the gateway: who asks, what for, and until when."""

import hashlib
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from parquedb.access.principal import Principal
from parquedb.access.reserved import check_not_reserved
from parquedb.actors.requests.operations import Outcome, SessionRequest
from parquedb.cluster.gateway.admission import admit, check_actor
from parquedb.cluster.gateway.answers import JSON
from parquedb.cluster.gateway.bodies import read_body
from parquedb.cluster.gateway.problems import Refusal
from parquedb.cluster.gateway.query_string import QueryString
from parquedb.cluster.transport.sessions import parse_request_id
from parquedb.documents import extended_json
from parquedb.errors import InvalidInputError, OutcomeUnknownError, RpcTimeoutError, ValidationError
from parquedb.storage.keys import check_namespace

if TYPE_CHECKING:
    from parquedb.cluster.client.async_database import AsyncDatabase
    from parquedb.cluster.gateway.gateway import Gateway

TIMEOUT_HEADER: Final = "Request-Timeout"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
IDEMPOTENCY_CHARS_MAX: Final = 255

_REPLACEMENT: Final = "\ufffd"


class Call:
    """One request.

    Attributes:
        gateway: Who answers it.
        scope: Of ASGI.
        receive: Of ASGI.
        headers: As sent.
        request_id: Of this HTTP request, for logs and problems.
        began_s: When it arrived (monotonic seconds).
        timeout_s: Seconds from then on until the caller gives up.
        principal: Who asks; set once that has been established.
        operation: What is asked for, named like the method, for logs and metrics.
    """

    __slots__ = (
        "_body",
        "_namespace",
        "_query",
        "began_s",
        "gateway",
        "headers",
        "operation",
        "principal",
        "receive",
        "request_id",
        "scope",
        "timeout_s",
    )

    def __init__(self, gateway: "Gateway", scope: Scope, receive: Receive) -> None:
        self.gateway = gateway
        self.scope = scope
        self.receive = receive
        self.headers = Headers(scope=scope)
        self.request_id = ""
        self.began_s = time.monotonic()
        self.timeout_s = gateway.settings.timeout_s
        self.principal = Principal("nobody")
        self.operation = ""
        self._body = b""
        self._namespace: str | None = None
        self._query: QueryString | None = None

    def read_timeout(self) -> None:
        """Take the caller's deadline from the header.

        Raises:
            InvalidInputError: it is no positive number.
        """
        text = self.headers.get(TIMEOUT_HEADER)
        if text is None:
            return
        try:
            given_s = float(text)
        except ValueError:
            given_s = math.nan
        # `0 < x < inf` is false for NaN as well.
        if not 0 < given_s < math.inf:
            raise InvalidInputError(f"{TIMEOUT_HEADER}: expected a positive number of seconds, got {text[:40]!r}")
        self.timeout_s = min(given_s, self.gateway.settings.timeout_s_max)

    def left_s(self) -> float:
        """Return the seconds that are left.

        Raises:
            RpcTimeoutError: none; nothing has been applied for this request yet.
        """
        left = self.began_s + self.timeout_s - time.monotonic()
        if left <= 0:
            raise RpcTimeoutError(f"the request was not read within its {self.timeout_s:g} s; nothing was applied")
        return left

    @property
    def namespace(self) -> str:
        """The namespace that the path names.

        Raises:
            InvalidPathError: no namespace can have this name.
            PermissionDeniedError: it is one of the gateway's own.
        """
        name = self._namespace
        if name is None:
            name = check_namespace(self._path_part("namespace"))
            check_not_reserved(name)
            self._namespace = name
        return name

    @property
    def document_id(self) -> str:
        """The document that the path names; everything behind `/documents/` is its id."""
        return self._path_part("id")

    @property
    def method(self) -> str:
        """The method that the last part of the path names."""
        path: str = self.scope["path"]
        return path.rpartition("/")[2]

    @property
    def database(self) -> "AsyncDatabase":
        """The database, as the caller may use it."""
        return self.gateway.database_for(self.principal)

    @property
    def query(self) -> QueryString:
        """The query string; raises as that."""
        if self._query is None:
            self._query = QueryString(self.scope.get("query_string", b""), self.gateway.settings.depth_max)
        return self._query

    async def body(self) -> bytes:
        """Read the body.

        Raises:
            Refusal: it is too large.
            RpcTimeoutError: it did not arrive in time.
        """
        self._body = await read_body(self.receive, self.headers, self.gateway.settings.body_bytes_max, self.left_s())
        return self._body

    async def json_object(self, *, optional: bool = False) -> dict[str, Any]:
        """Read a body that is a JSON object.

        Args:
            optional: Whether no body stands for `{}`.

        Raises:
            InvalidInputError: it is none, or nested too deeply.
            Refusal: it is too large, or says that it is something else.
        """
        kind = self.headers.get("content-type", JSON)
        if "json" not in kind.lower():
            error = InvalidInputError(f"Content-Type: expected {JSON}, got {kind[:80]!r}")
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, error, {"Accept": JSON})
        body = await self.body()
        if not body and optional:
            return {}
        found = extended_json.loads_request(body, depth_max=self.gateway.settings.depth_max) if body else None
        if type(found) is not dict:
            got = type(found).__name__ if body else "nothing"
            raise InvalidInputError(f"expected a JSON object as the body, got {got}")
        return found

    async def ask(self, item: dict[str, Any], timeout_s: float | None = None) -> Outcome:
        """Have an operation in dict form carried out.

        Args:
            item: The operation.
            timeout_s: Seconds for it; what is left of the request's own by default.

        Raises:
            ParqueDBError: it was refused, here or by the owner, or its outcome is not known.
        """
        self.operation = item["op"]
        operation = admit(self.principal, self.gateway.settings, self.namespace, item, at="request")
        return await self.database._run(self.namespace, operation, self.left_s() if timeout_s is None else timeout_s)

    async def write(self, item: dict[str, Any]) -> Outcome:
        """Have a write carried out, once only under its `Idempotency-Key`; raises as `ask`."""
        key = self.request_key(self._body)
        if key is None:
            return await self.ask(item)
        if "request_id" in item:
            raise InvalidInputError(f"expected either request_id or {IDEMPOTENCY_HEADER}", field="request_id")
        try:
            return await self.ask({**item, "request_id": key})
        except OutcomeUnknownError as error:
            given = self.headers[IDEMPOTENCY_HEADER]
            words = (
                f"whether the write was applied is unknown; send the same request with the same {IDEMPOTENCY_HEADER}"
            )
            raise OutcomeUnknownError(words, request_id=given, cause=error) from error

    def request_key(self, body: bytes) -> str | None:
        """Return the request id that an `Idempotency-Key` stands for; None where there is none.

        It is bound to who asks and to what is asked, so that nobody is given the answer of another request.

        Args:
            body: What is asked, as far as it is known.

        Raises:
            ValidationError: the key is too long.
        """
        key = self.headers.get(IDEMPOTENCY_HEADER)
        if key is None:
            return None
        if not 0 < len(key) <= IDEMPOTENCY_CHARS_MAX:
            expected = f"1 to {IDEMPOTENCY_CHARS_MAX} characters"
            raise ValidationError(
                f"{IDEMPOTENCY_HEADER}: expected {expected}, got {len(key)}", field=IDEMPOTENCY_HEADER
            )
        if isinstance(parse_request_id(key), SessionRequest):
            # The id of a write whose outcome was not known; nobody can guess another's.
            return key
        scope = self.scope
        asked = (
            self.principal.subject,
            scope["method"],
            scope["path"],
            scope.get("query_string", b"").decode("latin-1"),
        )
        digest = hashlib.blake2b("\0".join(asked).encode("utf-8", "surrogatepass") + b"\0" + body, digest_size=16)
        return f"{key}:{digest.hexdigest()}"

    def writes_as(self, actor: str | None) -> str | None:
        """Return who is said to write, given whom the caller names.

        Raises:
            PermissionDeniedError: another than himself.
        """
        if self.principal.authenticated_by == "none":
            return actor
        check_actor(self.principal, actor)
        return self.principal.subject

    @property
    def is_head(self) -> bool:
        """Whether only the headers of the answer are wanted."""
        return bool(self.scope["method"] == "HEAD")

    def _path_part(self, name: str) -> str:
        text: str = self.scope["path_params"][name]
        # The server put this sign in the place of what is no UTF-8; two ids must not become one by that.
        if _REPLACEMENT in text:
            try:
                unquote_to_bytes(self.scope.get("raw_path", b"")).decode()
            except UnicodeDecodeError:
                raise InvalidInputError(f"{name}: expected percent-encoded UTF-8 in the path", field=name) from None
        return text
