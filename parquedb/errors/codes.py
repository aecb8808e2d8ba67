"""The stable names and numbers of what can go wrong, with the HTTP status of each and whether a repeat can help."""

from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """One kind of failure; the thousands of `number` are its category.

    Names and numbers are kept for ever: logs, alerts and other programs compare them.

    Attributes:
        number: Stable integer; `number // 1000` is the category, 1 (general) to 12 (views).
        http_status: Status of a response that reports this code.
        retryable: Whether the very same call, sent again later, may succeed *and cannot be applied twice*.
            `OUTCOME_UNKNOWN` is therefore not retryable as it stands: only together with its request id.
    """

    number: int
    http_status: int
    retryable: bool

    def __new__(cls, value: str, number: int, http_status: int, *flags: str) -> Self:
        """Make a member; `value` repeats its name so that the enum reads and pickles by name."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.number = number
        member.http_status = http_status
        member.retryable = "retryable" in flags
        return member

    @property
    def category(self) -> int:
        """The thousands of the number, 1 to 12."""
        return self.number // 1000

    UNKNOWN = "UNKNOWN", 1000, 500
    INTERNAL = "INTERNAL", 1001, 500
    TIMEOUT = "TIMEOUT", 1002, 504, "retryable"
    CANCELLED = "CANCELLED", 1003, 500
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN", 1004, 500

    VALIDATION_FAILED = "VALIDATION_FAILED", 2000, 400
    INVALID_INPUT = "INVALID_INPUT", 2001, 400
    INVALID_TYPE = "INVALID_TYPE", 2002, 400
    REQUIRED_FIELD = "REQUIRED_FIELD", 2003, 400
    INVALID_FORMAT = "INVALID_FORMAT", 2004, 400
    SCHEMA_MISMATCH = "SCHEMA_MISMATCH", 2005, 400
    INVALID_OPERATOR = "INVALID_OPERATOR", 2006, 400

    NOT_FOUND = "NOT_FOUND", 3000, 404
    ENTITY_NOT_FOUND = "ENTITY_NOT_FOUND", 3001, 404
    COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND", 3002, 404
    INDEX_NOT_FOUND = "INDEX_NOT_FOUND", 3003, 404
    EVENT_NOT_FOUND = "EVENT_NOT_FOUND", 3004, 404
    SNAPSHOT_NOT_FOUND = "SNAPSHOT_NOT_FOUND", 3005, 404
    FILE_NOT_FOUND = "FILE_NOT_FOUND", 3006, 404

    CONFLICT = "CONFLICT", 4000, 409
    VERSION_CONFLICT = "VERSION_CONFLICT", 4001, 409
    ALREADY_EXISTS = "ALREADY_EXISTS", 4002, 409
    ETAG_MISMATCH = "ETAG_MISMATCH", 4003, 409
    UNIQUE_CONSTRAINT = "UNIQUE_CONSTRAINT", 4004, 409
    CONCURRENT_MODIFICATION = "CONCURRENT_MODIFICATION", 4005, 409, "retryable"
    # The owner stepped down before applying anything; the next owner takes the same call.
    FENCED = "FENCED", 4006, 409, "retryable"

    RELATIONSHIP_ERROR = "RELATIONSHIP_ERROR", 5000, 400
    INVALID_RELATIONSHIP = "INVALID_RELATIONSHIP", 5001, 400
    RELATIONSHIP_NOT_FOUND = "RELATIONSHIP_NOT_FOUND", 5002, 404
    CIRCULAR_RELATIONSHIP = "CIRCULAR_RELATIONSHIP", 5003, 400
    RELATIONSHIP_TARGET_DELETED = "RELATIONSHIP_TARGET_DELETED", 5004, 409

    QUERY_ERROR = "QUERY_ERROR", 6000, 400
    INVALID_FILTER = "INVALID_FILTER", 6001, 400
    INVALID_UPDATE = "INVALID_UPDATE", 6002, 400
    INVALID_SORT = "INVALID_SORT", 6003, 400
    INVALID_PROJECTION = "INVALID_PROJECTION", 6004, 400
    QUERY_TIMEOUT = "QUERY_TIMEOUT", 6005, 504, "retryable"

    STORAGE_ERROR = "STORAGE_ERROR", 7000, 500
    STORAGE_READ_ERROR = "STORAGE_READ_ERROR", 7001, 500, "retryable"
    STORAGE_WRITE_ERROR = "STORAGE_WRITE_ERROR", 7002, 500, "retryable"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED", 7003, 500
    # Both come from a name the caller chose, so they are the caller's to mend.
    INVALID_PATH = "INVALID_PATH", 7004, 400
    PATH_TRAVERSAL = "PATH_TRAVERSAL", 7005, 400
    NETWORK_ERROR = "NETWORK_ERROR", 7006, 500, "retryable"
    CORRUPTION = "CORRUPTION", 7007, 500
    CIRCUIT_OPEN = "CIRCUIT_OPEN", 7008, 503, "retryable"

    AUTHORIZATION_ERROR = "AUTHORIZATION_ERROR", 8000, 403
    PERMISSION_DENIED = "PERMISSION_DENIED", 8001, 403
    AUTHENTICATION_REQUIRED = "AUTHENTICATION_REQUIRED", 8002, 401
    TOKEN_EXPIRED = "TOKEN_EXPIRED", 8003, 401
    RATE_LIMITED = "RATE_LIMITED", 8004, 429, "retryable"

    CONFIGURATION_ERROR = "CONFIGURATION_ERROR", 9000, 500
    INVALID_CONFIG = "INVALID_CONFIG", 9001, 500
    MISSING_CONFIG = "MISSING_CONFIG", 9002, 500

    RPC_ERROR = "RPC_ERROR", 10000, 500
    RPC_TIMEOUT = "RPC_TIMEOUT", 10001, 504, "retryable"
    RPC_UNAVAILABLE = "RPC_UNAVAILABLE", 10002, 503, "retryable"
    RPC_INVALID_RESPONSE = "RPC_INVALID_RESPONSE", 10003, 500
    BACKPRESSURE = "BACKPRESSURE", 10004, 429, "retryable"

    INDEX_ERROR = "INDEX_ERROR", 11000, 500
    INDEX_BUILD_ERROR = "INDEX_BUILD_ERROR", 11001, 500
    INDEX_LOAD_ERROR = "INDEX_LOAD_ERROR", 11002, 500
    INDEX_ALREADY_EXISTS = "INDEX_ALREADY_EXISTS", 11003, 409

    VIEW_ERROR = "VIEW_ERROR", 12000, 500
    VIEW_NOT_FOUND = "VIEW_NOT_FOUND", 12001, 404
    VIEW_ALREADY_EXISTS = "VIEW_ALREADY_EXISTS", 12002, 409
    VIEW_REFRESH_ERROR = "VIEW_REFRESH_ERROR", 12003, 500
