"""Questions about any object: is it this error of ours, bare or inside Ray's `RayTaskError`?

A bare `RayTaskError` that answers True carries the facts on `unwrap(error)`.
"""

from typing import TypeGuard

from parquedb.errors import request_errors, service_errors
from parquedb.errors.base import ParqueDBError, unwrap


def is_parquedb_error(error: object) -> TypeGuard[ParqueDBError]:
    """Whether it is any error of this package."""
    return isinstance(unwrap(error), ParqueDBError)


def is_outcome_unknown_error(error: object) -> TypeGuard[request_errors.OutcomeUnknownError]:
    """Whether it is a write whose outcome is unknown."""
    return isinstance(unwrap(error), request_errors.OutcomeUnknownError)


def is_internal_error(error: object) -> TypeGuard[request_errors.InternalError]:
    """Whether it is a bug of ours."""
    return isinstance(unwrap(error), request_errors.InternalError)


def is_timeout_error(error: object) -> TypeGuard[request_errors.TimeoutError]:
    """Whether it is a limit in time that passed, of a query or call too."""
    return isinstance(unwrap(error), request_errors.TimeoutError)


def is_cancelled_error(error: object) -> TypeGuard[request_errors.CancelledError_]:
    """Whether it is a cancelled operation."""
    return isinstance(unwrap(error), request_errors.CancelledError_)


def is_validation_error(error: object) -> TypeGuard[request_errors.ValidationError]:
    """Whether it is a refused value or argument."""
    return isinstance(unwrap(error), request_errors.ValidationError)


def is_not_found_error(error: object) -> TypeGuard[request_errors.NotFoundError]:
    """Whether it is something missing: document, namespace, snapshot, object or link."""
    return isinstance(unwrap(error), request_errors.NotFoundError)


def is_entity_not_found_error(error: object) -> TypeGuard[request_errors.EntityNotFoundError]:
    """Whether it is a missing document."""
    return isinstance(unwrap(error), request_errors.EntityNotFoundError)


def is_object_not_found_error(error: object) -> TypeGuard[request_errors.ObjectNotFoundError]:
    """Whether it is a missing stored object."""
    return isinstance(unwrap(error), request_errors.ObjectNotFoundError)


def is_conflict_error(error: object) -> TypeGuard[request_errors.ConflictError]:
    """Whether it is a write refused because of what is there."""
    return isinstance(unwrap(error), request_errors.ConflictError)


def is_version_conflict_error(error: object) -> TypeGuard[request_errors.VersionConflictError]:
    """Whether it is a stale `expected_version`."""
    return isinstance(unwrap(error), request_errors.VersionConflictError)


def is_already_exists_error(error: object) -> TypeGuard[request_errors.AlreadyExistsError]:
    """Whether it is a taken id or key."""
    return isinstance(unwrap(error), request_errors.AlreadyExistsError)


def is_etag_mismatch_error(error: object) -> TypeGuard[request_errors.ETagMismatchError]:
    """Whether it is a stale etag."""
    return isinstance(unwrap(error), request_errors.ETagMismatchError)


def is_unique_constraint_error(error: object) -> TypeGuard[request_errors.UniqueConstraintError]:
    """Whether it is a taken value of a unique field."""
    return isinstance(unwrap(error), request_errors.UniqueConstraintError)


def is_fenced_error(error: object) -> TypeGuard[request_errors.FencedError]:
    """Whether it is an owner that lost its namespace."""
    return isinstance(unwrap(error), request_errors.FencedError)


def is_relationship_error(error: object) -> TypeGuard[request_errors.RelationshipError]:
    """Whether it is a bad link."""
    return isinstance(unwrap(error), request_errors.RelationshipError)


def is_query_error(error: object) -> TypeGuard[request_errors.QueryError]:
    """Whether it is a bad filter, update, sort or projection, or a slow query."""
    return isinstance(unwrap(error), request_errors.QueryError)


def is_storage_error(error: object) -> TypeGuard[service_errors.StorageError]:
    """Whether it is a failure of the store, an open circuit and a refused path included."""
    return isinstance(unwrap(error), service_errors.StorageError)


def is_corruption_error(error: object) -> TypeGuard[service_errors.CorruptionError]:
    """Whether it is a damaged or missing stored object."""
    return isinstance(unwrap(error), service_errors.CorruptionError)


def is_path_error(error: object) -> TypeGuard[service_errors.InvalidPathError]:
    """Whether it is a refused name or key."""
    return isinstance(unwrap(error), service_errors.InvalidPathError)


def is_path_traversal_error(error: object) -> TypeGuard[service_errors.PathTraversalError]:
    """Whether it is a name that points outside its place."""
    return isinstance(unwrap(error), service_errors.PathTraversalError)


def is_network_error(error: object) -> TypeGuard[service_errors.NetworkError]:
    """Whether it is a store that could not be reached."""
    return isinstance(unwrap(error), service_errors.NetworkError)


def is_quota_exceeded_error(error: object) -> TypeGuard[service_errors.QuotaExceededError]:
    """Whether it is a full store."""
    return isinstance(unwrap(error), service_errors.QuotaExceededError)


def is_circuit_open_error(error: object) -> TypeGuard[service_errors.CircuitOpenError]:
    """Whether it is a refusal by a breaker."""
    return isinstance(unwrap(error), service_errors.CircuitOpenError)


def is_authorization_error(error: object) -> TypeGuard[service_errors.AuthorizationError]:
    """Whether it is a refused caller."""
    return isinstance(unwrap(error), service_errors.AuthorizationError)


def is_rate_limited_error(error: object) -> TypeGuard[service_errors.RateLimitedError]:
    """Whether it is a caller over its rate."""
    return isinstance(unwrap(error), service_errors.RateLimitedError)


def is_configuration_error(error: object) -> TypeGuard[service_errors.ConfigurationError]:
    """Whether it is a bad setting."""
    return isinstance(unwrap(error), service_errors.ConfigurationError)


def is_rpc_error(error: object) -> TypeGuard[service_errors.RpcError]:
    """Whether it is a failed call to another process."""
    return isinstance(unwrap(error), service_errors.RpcError)


def is_backpressure_error(error: object) -> TypeGuard[service_errors.BackpressureError]:
    """Whether it is a full queue."""
    return isinstance(unwrap(error), service_errors.BackpressureError)


def is_index_error(error: object) -> TypeGuard[service_errors.IndexError_]:
    """Whether it is a failed index."""
    return isinstance(unwrap(error), service_errors.IndexError_)


def is_view_error(error: object) -> TypeGuard[service_errors.ViewError]:
    """Whether it is a failed view."""
    return isinstance(unwrap(error), service_errors.ViewError)
