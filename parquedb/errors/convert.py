"""Errors from JSON, from an HTTP status, from foreign exceptions, and from a failed check."""

import asyncio
import builtins
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from parquedb.errors import request_errors, service_errors
from parquedb.errors.base import ForeignError, ParqueDBError, Parts, rebuild, unwrap
from parquedb.errors.codes import ErrorCode
from parquedb.errors.plain import text_of

T = TypeVar("T")

_CHAIN_MAX = 32

_FAMILIES: Final[dict[int, type[ParqueDBError]]] = {
    1: ParqueDBError,
    2: request_errors.ValidationError,
    3: request_errors.NotFoundError,
    4: request_errors.ConflictError,
    5: request_errors.RelationshipError,
    6: request_errors.QueryError,
    7: service_errors.StorageError,
    8: service_errors.AuthorizationError,
    9: service_errors.ConfigurationError,
    10: service_errors.RpcError,
    11: service_errors.IndexError_,
    12: service_errors.ViewError,
}

_STATUSES: Final[dict[int, type[ParqueDBError]]] = {
    400: request_errors.InvalidInputError,
    401: service_errors.AuthenticationRequiredError,
    403: service_errors.PermissionDeniedError,
    404: request_errors.NotFoundError,
    408: request_errors.TimeoutError,
    409: request_errors.ConflictError,
    412: request_errors.ETagMismatchError,
    422: request_errors.ValidationError,
    429: service_errors.RateLimitedError,
    500: request_errors.InternalError,
    502: service_errors.RpcUnavailableError,
    503: service_errors.RpcUnavailableError,
    504: request_errors.TimeoutError,
    507: service_errors.QuotaExceededError,
}


def _subclasses(cls: type[ParqueDBError]) -> Iterator[type[ParqueDBError]]:
    for below in cls.__subclasses__():
        yield below
        yield from _subclasses(below)


_BY_CODE: Final[dict[ErrorCode, type[ParqueDBError]]] = {
    cls.default_code: cls
    for cls in reversed(list(_subclasses(ParqueDBError)))
    if not cls.__name__.startswith("_") and "default_code" in vars(cls)
}


_BY_NAME: Final[dict[str, type[ParqueDBError]]] = {
    "ParqueDBError": ParqueDBError,
    **{cls.__name__: cls for cls in _BY_CODE.values()},
}


def class_of(code: ErrorCode) -> type[ParqueDBError]:
    """Return the class for a code: its own, else that of its category."""
    return _BY_CODE.get(code, _FAMILIES[code.category])


def error_from_json(data: Any) -> ParqueDBError:
    """Rebuild an error from `ParqueDBError.to_json`; whatever `data` is, an error comes back."""
    links: list[Mapping[str, Any]] = []
    while isinstance(data, Mapping) and len(links) < _CHAIN_MAX:
        links.append(data)
        data = data.get("cause")
    cause: BaseException | None = None
    for link in reversed(links[1:]):
        cause = _foreign(link, cause) if "code" not in link else _own(link, cause)
    if not links:
        return ParqueDBError(text_of(data) if data is not None else "")
    return _own(links[0], cause)


def _own(link: Mapping[str, Any], cause: BaseException | None) -> ParqueDBError:
    code = _code_of(link)
    name, message, context = link.get("name"), link.get("message"), link.get("context")
    cls = _class_named(name) or class_of(code or ErrorCode.UNKNOWN)
    known = {text_of(key): value for key, value in context.items()} if isinstance(context, Mapping) else {}
    text = text_of(message) if message is not None else ""
    return rebuild(Parts(cls, text, code or cls.default_code, known, {}), cause)


def _class_named(name: object) -> type[ParqueDBError] | None:
    # Ours first: a user's class of the same name must not take its place.
    if not isinstance(name, str) or name in _BY_NAME:
        return _BY_NAME.get(str(name))
    return next((cls for cls in _subclasses(ParqueDBError) if cls.__name__ == name), None)


def _foreign(link: Mapping[str, Any], cause: BaseException | None) -> ForeignError:
    error = ForeignError(text_of(link.get("name", "Exception")), text_of(link.get("message", "")))
    error.__cause__ = cause
    return error


def _code_of(link: Mapping[str, Any]) -> ErrorCode | None:
    name, number = link.get("code"), link.get("number")
    if isinstance(name, str) and name in ErrorCode.__members__:
        return ErrorCode[name]
    # A newer sender may know more codes; its category is understood all the same.
    if isinstance(number, int) and number // 1000 in _FAMILIES:
        return _FAMILIES[number // 1000].default_code
    return None


def error_from_status(
    status: int, message: str = "", *, context: Mapping[str, Any] | None = None, **facts: Any
) -> ParqueDBError:
    """Return the error that an HTTP status stands for; `context["status"]` keeps the status.

    Args:
        status: Any integer; other 4xx become `InvalidInputError`, other 5xx `InternalError`, the rest `ParqueDBError`.
        message: What the response said.
        context: Facts by name.
        **facts: Facts by name, such as `retry_after` (seconds).
    """
    families = {4: request_errors.InvalidInputError, 5: request_errors.InternalError}
    cls = _STATUSES.get(status) or families.get(status // 100, ParqueDBError)
    return cls(message or f"HTTP status {status}", context={**(context or {}), "status": status}, **facts)


_FOREIGN: Final[tuple[tuple[type[BaseException], ErrorCode], ...]] = (
    (asyncio.CancelledError, ErrorCode.CANCELLED),
    (builtins.TimeoutError, ErrorCode.TIMEOUT),
    (ConnectionError, ErrorCode.NETWORK_ERROR),
)


def wrap_error(
    error: BaseException,
    message: str = "",
    *,
    code: ErrorCode | None = None,
    context: Mapping[str, Any] | None = None,
    **facts: Any,
) -> ParqueDBError:
    """Return our error for any exception: our own as it is (out of Ray's wrapper too), a foreign one as its cause.

    Without `code` a foreign cancellation, timeout or lost connection keeps its meaning, and the rest is `INTERNAL`.
    """
    own = unwrap(error)
    if isinstance(own, ParqueDBError):
        return own
    if code is None:
        code = next((code for cls, code in _FOREIGN if isinstance(error, cls)), ErrorCode.INTERNAL)
    text = message or _line_of(error)
    return class_of(code)(text, code=code, context=context, cause=error, **facts)


def _line_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception_only(error)).strip()
    except Exception:  # noqa: BLE001 - formatting calls the foreign error's own code
        return text_of(error)


def assert_valid(condition: object, message: str = "", /, **context: Any) -> None:
    """Check an input.

    Raises:
        ValidationError: `condition` is false; `context` holds the facts, such as `field`.
    """
    if not condition:
        raise request_errors.ValidationError(message, context=context)


def assert_found(value: T | None, message: str = "", /, code: ErrorCode = ErrorCode.NOT_FOUND, **context: Any) -> T:
    """Return `value`; 0, "" and False count as found.

    Raises:
        NotFoundError: `value` is None; the subclass fits `code`.
    """
    if value is None:
        raise class_of(code)(message, code=code, context=context)
    return value
