"""Which errors say that a store is ill."""

import asyncio

import pytest

from parquedb import errors
from parquedb.storage.breaker.circuit import counts_as_failure

COUNTED = [
    errors.NetworkError(),
    errors.TimeoutError(timeout_s=1),
    errors.QueryTimeoutError(),
    errors.RpcTimeoutError(),
    errors.OutcomeUnknownError(),
    errors.StorageReadError(),
    errors.StorageWriteError(),
    errors.QuotaExceededError(),
    errors.StorageError(),
    OSError(5, "I/O error"),
    TimeoutError(),
    ConnectionResetError(),
    RuntimeError("nobody foresaw this"),
]
ANSWERS = [
    errors.ObjectNotFoundError(key="k"),
    errors.AlreadyExistsError(key="k"),
    errors.ETagMismatchError(key="k"),
    errors.ConcurrentModificationError(key="k"),
    errors.FencedError(namespace="n", epoch=1),
    errors.PermissionDeniedError(),
    FileNotFoundError(),
    FileExistsError(),
]
SILENT = [
    asyncio.CancelledError(),
    errors.CancelledError_(),
    errors.ParqueDBError(code=errors.ErrorCode.CANCELLED),
    KeyboardInterrupt(),
    GeneratorExit(),
    errors.ValidationError(),
    errors.InvalidInputError(),
    errors.InvalidPathError(path=""),
    errors.PathTraversalError(path=".."),
    errors.InvalidFilterError(operator="$x"),
    errors.ConfigurationError(),
    errors.CircuitOpenError(circuit="c", retry_after=1),
    errors.RateLimitedError(),
    errors.CorruptionError(key="k"),
]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [*((e, True) for e in COUNTED), *((e, False) for e in ANSWERS), *((e, None) for e in SILENT)],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_errors_are_judged_by_their_type(error: BaseException, verdict: bool | None):
    assert counts_as_failure(error) is verdict


def test_an_error_is_not_judged_by_its_words():
    assert counts_as_failure(errors.ObjectNotFoundError("503 timeout connection reset")) is False
    assert counts_as_failure(errors.NetworkError("not found")) is True
