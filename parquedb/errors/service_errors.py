"""Errors of the service behind a request: storage, access, settings, calls between processes, indexes, views.

What to do about each is drawn in `parquedb.errors`.
"""

from parquedb.errors.base import Fact, ParqueDBError
from parquedb.errors.codes import ErrorCode
from parquedb.errors.plain import seconds_of
from parquedb.errors.request_errors import NotFoundError, TimeoutError  # noqa: A004 - the public name


def _wait(retry_after: float | None) -> str:
    return "" if retry_after is None else f"; retry after {seconds_of(retry_after)}"


class StorageError(ParqueDBError):
    """The store did not do what it was asked."""

    default_code = ErrorCode.STORAGE_ERROR


class _KeyError(StorageError):
    key = Fact[str | None]("Key of the object.")

    def _describe(self) -> str:
        return super()._describe() + ("" if self.key is None else f": {self.key!r}")


class StorageReadError(_KeyError):
    """The store refused a read."""

    default_code = ErrorCode.STORAGE_READ_ERROR


class StorageWriteError(_KeyError):
    """The store refused a write; nothing was stored."""

    default_code = ErrorCode.STORAGE_WRITE_ERROR


class StorageFailedError(StorageWriteError):
    """The store lost a write and takes no more from this handle of it; nothing of this one was stored.

    Trying again is no use: only a store opened anew can tell what is there.
    """


class QuotaExceededError(_KeyError):
    """The store is full, for us at least; nothing was stored."""

    default_code = ErrorCode.QUOTA_EXCEEDED


class NetworkError(_KeyError):
    """The store could not be reached; nothing was changed."""

    default_code = ErrorCode.NETWORK_ERROR


class CorruptionError(StorageError):
    """A stored object is missing, cut short or altered."""

    default_code = ErrorCode.CORRUPTION
    key = Fact[str | None]("Key of the object.")
    reason = Fact[str | None]("What is wrong with it.")

    def _describe(self) -> str:
        what = "a stored object" if self.key is None else f"object {self.key!r}"
        return f"{what} is corrupt" + ("" if self.reason is None else f": {self.reason}")


class NewerFormatError(StorageError):
    """A stored object is whole, but of a format that only a later version knows; nothing was changed."""

    key = Fact[str | None]("Key of the object.")
    reason = Fact[str | None]("What of it this version does not know.")

    def _describe(self) -> str:
        what = "a stored object" if self.key is None else f"object {self.key!r}"
        reason = "" if self.reason is None else f" ({self.reason})"
        return f"{what} was written by a later version of ParqueDB{reason}: run that version, or one after it"


class InvalidPathError(StorageError):
    """A name or key that cannot be stored."""

    default_code = ErrorCode.INVALID_PATH
    path = Fact[str | None]("The name as given.")

    def _describe(self) -> str:
        return super()._describe() + ("" if self.path is None else f": {self.path!r}")


class PathTraversalError(InvalidPathError):
    """A name that points outside its place."""

    default_code = ErrorCode.PATH_TRAVERSAL


class CircuitOpenError(StorageError):
    """The breaker refused without trying, because calls of late have failed."""

    default_code = ErrorCode.CIRCUIT_OPEN
    circuit = Fact[str | None]("Name of the circuit.")

    def _describe(self) -> str:
        which = "the circuit" if self.circuit is None else f"circuit {self.circuit!r}"
        return f"{which} is open{_wait(self.retry_after)}"


class AuthorizationError(ParqueDBError):
    """The caller may not do this."""

    default_code = ErrorCode.AUTHORIZATION_ERROR


class PermissionDeniedError(AuthorizationError):
    """The caller is known but lacks the permission."""

    default_code = ErrorCode.PERMISSION_DENIED


class AuthenticationRequiredError(AuthorizationError):
    """The caller did not say, or could not prove, who it is."""

    default_code = ErrorCode.AUTHENTICATION_REQUIRED


class TokenExpiredError(AuthenticationRequiredError):
    """The caller's proof of who it is has run out."""

    default_code = ErrorCode.TOKEN_EXPIRED


class RateLimitedError(AuthorizationError):
    """The caller has used up its share for now."""

    default_code = ErrorCode.RATE_LIMITED

    def _describe(self) -> str:
        return f"too many requests{_wait(self.retry_after)}"


class ConfigurationError(ParqueDBError):
    """A setting is missing, unknown, out of range, or not honoured by the store."""

    default_code = ErrorCode.CONFIGURATION_ERROR
    setting = Fact[str | None]("The environment variable or argument at fault.")

    def _describe(self) -> str:
        return "configuration error" if self.setting is None else f"{self.setting} cannot be used"


class RpcError(ParqueDBError):
    """A call to another process failed."""

    default_code = ErrorCode.RPC_ERROR


class RpcTimeoutError(RpcError, TimeoutError):
    """The other process did not answer in time, and the call changed nothing."""

    default_code = ErrorCode.RPC_TIMEOUT


class RpcUnavailableError(RpcError):
    """The other process cannot be reached; nothing was applied."""

    default_code = ErrorCode.RPC_UNAVAILABLE


class BackpressureError(RpcError):
    """A queue is full; nothing was applied."""

    default_code = ErrorCode.BACKPRESSURE

    def _describe(self) -> str:
        return f"too much work is waiting{_wait(self.retry_after)}"


class IndexError_(ParqueDBError):  # noqa: N801, N818 - the underscore keeps it apart from the builtin
    """An index cannot be built or read; the documents are unharmed."""

    default_code = ErrorCode.INDEX_ERROR


class ViewError(ParqueDBError):
    """A view cannot be made, found or refreshed; the documents are unharmed."""

    default_code = ErrorCode.VIEW_ERROR


class ViewNotFoundError(ViewError, NotFoundError):
    """No such view."""

    default_code = ErrorCode.VIEW_NOT_FOUND
