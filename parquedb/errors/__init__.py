"""Every error this package raises, and what a caller does about each.

ParqueDBError                      anything of ours; `code`, `http_status`, `retryable`, `retry_after` say more
  OutcomeUnknownError              may have been applied: send again with the same request_id, or read before you write
  TimeoutError                     nothing was applied: try again, or allow more time
  CancelledError_                  you gave up: nothing to do
  InternalError                    our bug: report it with `to_json(stack=True)`
  ValidationError                  mend the value that `field`, `expected` and `actual` name
    InvalidInputError              mend the argument
    SchemaMismatchError            mend the schema, as each of `reasons` says
  NotFoundError                    it is not there: create it, or go on without
    EntityNotFoundError              ... a document
    CollectionNotFoundError          ... a namespace
    SnapshotNotFoundError            ... a past state: take a newer one
    EventNotFoundError               ... changes that are older than `oldest`: begin anew from a snapshot
    ObjectNotFoundError              ... a stored object
  ConflictError                    refused because of what is there: read, decide again
    VersionConflictError             reload the document, decide again, resubmit
    AlreadyExistsError               take another id, or update what is there
    ETagMismatchError                reload the object, decide again, resubmit
    UniqueConstraintError            take another value
    ConcurrentModificationError      send the same bytes again
    FencedError                      the namespace moved: send the same call to its new owner
  RelationshipError                mend the link
    InvalidRelationshipError         ... by the schema
    RelationshipNotFoundError        ... the link or its target is gone (also a NotFoundError)
  QueryError                       mend the query
    InvalidFilterError               ... `operator` at `path`
    InvalidUpdateError               ... `operator` at `path`
    InvalidPipelineError             ... `operator` of the stage at position `stage`
    InvalidSortError, InvalidProjectionError
    QueryMemoryError                 narrow the query, or ask for fewer fields
    QueryTimeoutError                narrow the query, or allow more time (also a TimeoutError)
  StorageError                     look at the store
    StorageReadError                 it refused: try again, then look at its log
    StorageWriteError                it refused, nothing is stored: the same
      StorageFailedError             and will refuse every other until it is opened anew: the same
    QuotaExceededError               make room
    NetworkError                     unreachable, nothing changed: try again
    CorruptionError                  stop, keep the object `key`, restore it from a copy
    NewerFormatError                 run the version that wrote the object `key`, or a later one
    CircuitOpenError                 nothing was tried: come back after `retry_after` seconds
    InvalidPathError                 take another name
      PathTraversalError             ... one that stays inside its place
  AuthorizationError               ask for access
    AuthenticationRequiredError      log in
      TokenExpiredError              ... again, or renew the token
    PermissionDeniedError            have the permission granted
    RateLimitedError                 come back after `retry_after` seconds
  ConfigurationError               mend the setting that `setting` names
  RpcError                         a call to another process failed
    RpcTimeoutError                  nothing was changed: try again (also a TimeoutError)
    RpcUnavailableError              nothing was applied: try again
    BackpressureError                nothing was applied: come back after `retry_after` seconds
  IndexError_                      build the index again; the documents are unharmed
  ViewError                        refresh or define the view again; the documents are unharmed
    ViewNotFoundError                create the view (also a NotFoundError)

Errors keep class, code, message, facts and causes through pickle, copies, JSON and Ray. A foreign cause crosses a
process boundary as `ForeignError`: its name and message.
"""

from parquedb.errors.base import Fact, ForeignError, ParqueDBError, unwrap
from parquedb.errors.codes import ErrorCode
from parquedb.errors.convert import assert_found, assert_valid, class_of, error_from_status, wrap_error
from parquedb.errors.guards import (
    is_already_exists_error,
    is_authorization_error,
    is_backpressure_error,
    is_cancelled_error,
    is_circuit_open_error,
    is_configuration_error,
    is_conflict_error,
    is_corruption_error,
    is_entity_not_found_error,
    is_etag_mismatch_error,
    is_fenced_error,
    is_index_error,
    is_internal_error,
    is_network_error,
    is_not_found_error,
    is_object_not_found_error,
    is_outcome_unknown_error,
    is_parquedb_error,
    is_path_error,
    is_path_traversal_error,
    is_query_error,
    is_quota_exceeded_error,
    is_rate_limited_error,
    is_relationship_error,
    is_rpc_error,
    is_storage_error,
    is_timeout_error,
    is_unique_constraint_error,
    is_validation_error,
    is_version_conflict_error,
    is_view_error,
)
from parquedb.errors.request_errors import (
    AlreadyExistsError,
    CancelledError_,
    CollectionNotFoundError,
    ConcurrentModificationError,
    ConflictError,
    EntityNotFoundError,
    ETagMismatchError,
    EventNotFoundError,
    FencedError,
    InternalError,
    InvalidFilterError,
    InvalidInputError,
    InvalidPipelineError,
    InvalidProjectionError,
    InvalidRelationshipError,
    InvalidSortError,
    InvalidUpdateError,
    NotFoundError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    QueryError,
    QueryMemoryError,
    QueryTimeoutError,
    RelationshipError,
    RelationshipNotFoundError,
    SchemaMismatchError,
    SnapshotNotFoundError,
    TimeoutError,  # noqa: A004 - the public name
    UniqueConstraintError,
    ValidationError,
    VersionConflictError,
)
from parquedb.errors.service_errors import (
    AuthenticationRequiredError,
    AuthorizationError,
    BackpressureError,
    CircuitOpenError,
    ConfigurationError,
    CorruptionError,
    IndexError_,
    InvalidPathError,
    NetworkError,
    NewerFormatError,
    PathTraversalError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
    RpcError,
    RpcTimeoutError,
    RpcUnavailableError,
    StorageError,
    StorageFailedError,
    StorageReadError,
    StorageWriteError,
    TokenExpiredError,
    ViewError,
    ViewNotFoundError,
)

__all__ = [
    "AlreadyExistsError",
    "AuthenticationRequiredError",
    "AuthorizationError",
    "BackpressureError",
    "CancelledError_",
    "CircuitOpenError",
    "CollectionNotFoundError",
    "ConcurrentModificationError",
    "ConfigurationError",
    "ConflictError",
    "CorruptionError",
    "ETagMismatchError",
    "EntityNotFoundError",
    "ErrorCode",
    "EventNotFoundError",
    "Fact",
    "FencedError",
    "ForeignError",
    "IndexError_",
    "InternalError",
    "InvalidFilterError",
    "InvalidInputError",
    "InvalidPathError",
    "InvalidPipelineError",
    "InvalidProjectionError",
    "InvalidRelationshipError",
    "InvalidSortError",
    "InvalidUpdateError",
    "NetworkError",
    "NewerFormatError",
    "NotFoundError",
    "ObjectNotFoundError",
    "OutcomeUnknownError",
    "ParqueDBError",
    "PathTraversalError",
    "PermissionDeniedError",
    "QueryError",
    "QueryMemoryError",
    "QueryTimeoutError",
    "QuotaExceededError",
    "RateLimitedError",
    "RelationshipError",
    "RelationshipNotFoundError",
    "RpcError",
    "RpcTimeoutError",
    "RpcUnavailableError",
    "SchemaMismatchError",
    "SnapshotNotFoundError",
    "StorageError",
    "StorageFailedError",
    "StorageReadError",
    "StorageWriteError",
    "TimeoutError",
    "TokenExpiredError",
    "UniqueConstraintError",
    "ValidationError",
    "VersionConflictError",
    "ViewError",
    "ViewNotFoundError",
    "assert_found",
    "assert_valid",
    "class_of",
    "error_from_status",
    "is_already_exists_error",
    "is_authorization_error",
    "is_backpressure_error",
    "is_cancelled_error",
    "is_circuit_open_error",
    "is_configuration_error",
    "is_conflict_error",
    "is_corruption_error",
    "is_entity_not_found_error",
    "is_etag_mismatch_error",
    "is_fenced_error",
    "is_index_error",
    "is_internal_error",
    "is_network_error",
    "is_not_found_error",
    "is_object_not_found_error",
    "is_outcome_unknown_error",
    "is_parquedb_error",
    "is_path_error",
    "is_path_traversal_error",
    "is_query_error",
    "is_quota_exceeded_error",
    "is_rate_limited_error",
    "is_relationship_error",
    "is_rpc_error",
    "is_storage_error",
    "is_timeout_error",
    "is_unique_constraint_error",
    "is_validation_error",
    "is_version_conflict_error",
    "is_view_error",
    "unwrap",
    "wrap_error",
]
