"""Does an error say that the store is ill? Decided by its type, never by its words."""

from parquedb import errors

_ILL = (
    errors.NetworkError,
    errors.TimeoutError,
    errors.OutcomeUnknownError,
    errors.StorageReadError,
    errors.StorageWriteError,
    errors.QuotaExceededError,
)
_ANSWERS = (
    errors.NotFoundError,
    errors.ConflictError,
    errors.AuthorizationError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)
_SILENT = (
    errors.CircuitOpenError,
    errors.ValidationError,
    errors.QueryError,
    errors.RelationshipError,
    errors.ConfigurationError,
    errors.InvalidPathError,
    errors.PathTraversalError,
    errors.RateLimitedError,
    errors.BackpressureError,
    errors.CorruptionError,
)


def counts_as_failure(error: BaseException) -> bool | None:
    """Say what an error means for the health of whoever raised it.

    Returns:
        True: a failure: timeouts, lost connections, 5xx answers, a full store, and whatever nobody foresaw.
        False: an answer like any other, only not the hoped one: missing, taken, another etag, not allowed.
        None: says nothing: cancelled, refused before it left (invalid, bad path, an open circuit), told to slow down,
            or one damaged object.
    """
    if not isinstance(error, Exception):  # CancelledError, KeyboardInterrupt, GeneratorExit.
        return None
    error = errors.unwrap(error)
    if isinstance(error, errors.ParqueDBError) and error.code is errors.ErrorCode.CANCELLED:
        return None
    # The order matters: a query that timed out is a bad query by its family, and a timeout all the same.
    if isinstance(error, _ILL):
        return True
    if isinstance(error, _SILENT):
        return None
    return not isinstance(error, _ANSWERS)
