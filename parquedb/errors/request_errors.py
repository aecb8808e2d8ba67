"""Errors that a caller's request meets: general, values, things missing, conflicts, links and queries.

What to do about each is drawn in `parquedb.errors`.
"""

from typing import Any

from parquedb.errors.base import Fact, ParqueDBError
from parquedb.errors.codes import ErrorCode
from parquedb.errors.plain import repr_of, seconds_of, text_of


class InternalError(ParqueDBError):
    """A bug of ours, or a foreign error nobody foresaw."""

    default_code = ErrorCode.INTERNAL

    def _describe(self) -> str:
        return "internal error"


class TimeoutError(ParqueDBError):  # noqa: A001 - the public name; import it as `errors.TimeoutError` where both are needed
    """No answer in time, and nothing was applied."""

    default_code = ErrorCode.TIMEOUT
    timeout_s = Fact[float | None]("The limit that passed, seconds.")

    def _describe(self) -> str:
        return "no answer in time" if self.timeout_s is None else f"no answer within {seconds_of(self.timeout_s)}"


class CancelledError_(ParqueDBError):  # noqa: N801, N818 - the underscore keeps it apart from asyncio's
    """The caller gave up; nothing was applied."""

    default_code = ErrorCode.CANCELLED

    def _describe(self) -> str:
        return "the operation was cancelled"


class OutcomeUnknownError(ParqueDBError):
    """The write may have been applied, or may yet be."""

    default_code = ErrorCode.OUTCOME_UNKNOWN
    request_id = Fact[str | None]("The id to send again; a repeat under it is never applied twice.")
    key = Fact[str | None]("The stored object whose write got no answer.")

    def _describe(self) -> str:
        what = f"whether the write{_of(self.key)} was applied is unknown"
        if self.request_id is None:
            return f"{what}; read before you write again"
        return f"{what}; send it again with request_id={self.request_id!r}"


class ValidationError(ParqueDBError):
    """A value is not what its field asks for."""

    default_code = ErrorCode.VALIDATION_FAILED
    field = Fact[str | None]("Dotted path of the field.")
    expected = Fact[Any]("What the field asks for, in words or as a type's name.")
    actual = Fact[Any]("What it got.")

    def _describe(self) -> str:
        what = f"invalid value{_of(self.field)}"
        if self.expected is None:
            return what
        return f"{what}: expected {_words(self.expected)}, got {_words(self.actual)}"


class InvalidInputError(ValidationError):
    """A call's argument cannot be used."""

    default_code = ErrorCode.INVALID_INPUT


class SchemaMismatchError(ValidationError):
    """A schema cannot follow the one in force: documents that were accepted would be refused."""

    default_code = ErrorCode.SCHEMA_MISMATCH
    version = Fact[int | None]("Version of the schema in force.")
    reasons = Fact[list[str] | None]("What stands in its way, each with the dotted path of the field.")

    def _describe(self) -> str:
        which = "the one in force" if self.version is None else f"version {self.version}"
        return f"the schema cannot follow {which}" + (": " + "; ".join(self.reasons) if self.reasons else "")


class NotFoundError(ParqueDBError):
    """What was asked for is not there."""

    default_code = ErrorCode.NOT_FOUND


class EntityNotFoundError(NotFoundError):
    """No such document."""

    default_code = ErrorCode.ENTITY_NOT_FOUND
    id = Fact[str | None]("Id of the document.")
    namespace = Fact[str | None]("Namespace that was searched.")

    def _describe(self) -> str:
        what = "no such document" if self.id is None else f"no document {self.id!r}"
        return what if self.namespace is None else f"{what} in namespace {self.namespace!r}"


class CollectionNotFoundError(NotFoundError):
    """No such namespace."""

    default_code = ErrorCode.COLLECTION_NOT_FOUND
    namespace = Fact[str | None]("The name that was not found.")

    def _describe(self) -> str:
        return "no such namespace" if self.namespace is None else f"no namespace {self.namespace!r}"


class SnapshotNotFoundError(NotFoundError):
    """The snapshot or the past state is gone or never was."""

    default_code = ErrorCode.SNAPSHOT_NOT_FOUND
    oldest = Fact[int | None]("The oldest seq whose state can still be had.")


class EventNotFoundError(NotFoundError):
    """The changes asked for are not kept any more."""

    default_code = ErrorCode.EVENT_NOT_FOUND
    namespace = Fact[str | None]("The namespace.")
    after = Fact[int | None]("The seq after which they were asked for.")
    oldest = Fact[int | None]("Seq of the oldest change that is kept.")

    def _describe(self) -> str:
        where = "" if self.namespace is None else f" of namespace {self.namespace!r}"
        kept = "" if self.oldest is None else f"; the oldest that is kept has seq {self.oldest}"
        which = "" if self.after is None else f" after seq {self.after}"
        return f"the changes{where}{which} are not kept any more{kept}"


class ObjectNotFoundError(NotFoundError):
    """The store has no object under this key."""

    default_code = ErrorCode.FILE_NOT_FOUND
    key = Fact[str | None]("Key of the object.")

    def _describe(self) -> str:
        return "no such object" if self.key is None else f"no object {self.key!r}"


class ConflictError(ParqueDBError):
    """The write was refused because of what is there now; it is not applied."""

    default_code = ErrorCode.CONFLICT


class VersionConflictError(ConflictError):
    """The document is at another version than the caller expected."""

    default_code = ErrorCode.VERSION_CONFLICT
    expected = Fact[int | None]("Version the caller expected.")
    actual = Fact[int | None]("Version it has; None when there is no such document.")
    id = Fact[str | None]("Id of the document.")
    namespace = Fact[str | None]("Its namespace.")

    def _describe(self) -> str:
        what = _named(self.id, self.namespace)
        if self.actual is None:
            return f"{what}: expected version {self.expected}, but it does not exist"
        return f"{what}: expected version {self.expected}, but it is at version {self.actual}"


class AlreadyExistsError(ConflictError):
    """The id or key is taken."""

    default_code = ErrorCode.ALREADY_EXISTS
    id = Fact[str | None]("Id of the document that is there.")
    namespace = Fact[str | None]("Its namespace.")
    key = Fact[str | None]("Key of the stored object that is there.")

    def _describe(self) -> str:
        if self.key is not None:
            return f"object {self.key!r} already exists"
        return f"{_named(self.id, self.namespace)} already exists"


class ETagMismatchError(ConflictError):
    """The stored object is not the one the caller read."""

    default_code = ErrorCode.ETAG_MISMATCH
    key = Fact[str | None]("Key of the object.")
    expected = Fact[str | None]("Tag the caller expected.")
    actual = Fact[str | None]("Tag it has; None when it is missing or the store did not say.")

    def _describe(self) -> str:
        what = "object" if self.key is None else f"object {self.key!r}"
        found = "it has another or is missing" if self.actual is None else f"it has {self.actual!r}"
        return f"{what}: expected etag {self.expected!r}, but {found}"


class UniqueConstraintError(ConflictError):
    """Another document has this value of a unique field."""

    default_code = ErrorCode.UNIQUE_CONSTRAINT
    field = Fact[str | None]("Dotted path of the field.")
    value = Fact[Any]("The value that is taken.")

    def _describe(self) -> str:
        if self.field is None:
            return "a unique field's value is taken"
        return f"{self.field} must be unique, and {repr_of(self.value)} is taken"


class ConcurrentModificationError(ConflictError):
    """The store was busy with another write of this key (HTTP 409); this one was not applied."""

    default_code = ErrorCode.CONCURRENT_MODIFICATION
    key = Fact[str | None]("Key of the object.")

    def _describe(self) -> str:
        what = "the object" if self.key is None else f"object {self.key!r}"
        return f"{what} is being written by another; send the same bytes again"


class FencedError(ConflictError):
    """Another owner took the namespace; this one applied nothing and steps down."""

    default_code = ErrorCode.FENCED
    namespace = Fact[str | None]("The namespace.")
    epoch = Fact[int | None]("Epoch of the owner that lost it.")

    def _describe(self) -> str:
        which = "this owner" if self.epoch is None else f"the owner of epoch {self.epoch}"
        where = "its namespace" if self.namespace is None else f"namespace {self.namespace!r}"
        return f"{which} lost {where} to another"


class RelationshipError(ParqueDBError):
    """A link between documents cannot be made or followed."""

    default_code = ErrorCode.RELATIONSHIP_ERROR


class InvalidRelationshipError(RelationshipError):
    """The link is not one the schema allows."""

    default_code = ErrorCode.INVALID_RELATIONSHIP


class RelationshipNotFoundError(RelationshipError, NotFoundError):
    """The link or its target is not there."""

    default_code = ErrorCode.RELATIONSHIP_NOT_FOUND


class QueryError(ParqueDBError):
    """The query or update cannot be run as it is written."""

    default_code = ErrorCode.QUERY_ERROR


class _OperatorError(QueryError):
    operator = Fact[str | None]("The operator at fault, such as `$near`.")
    path = Fact[str | None]("Dotted path it was applied to.")

    def _describe(self) -> str:
        what = super()._describe()
        operator = "" if self.operator is None else f": operator {self.operator!r}"
        return what + operator + ("" if self.path is None else f" at {self.path!r}")


class InvalidFilterError(_OperatorError):
    """A filter with an unknown operator or a wrong operand."""

    default_code = ErrorCode.INVALID_FILTER


class InvalidUpdateError(_OperatorError):
    """An update with an unknown operator or a wrong operand, or that a document cannot take."""

    default_code = ErrorCode.INVALID_UPDATE
    expected = Fact[Any]("What the operator needs, in words or as a limit.")
    actual = Fact[Any]("What it got.")


class InvalidSortError(QueryError):
    """A sort order that cannot be used."""

    default_code = ErrorCode.INVALID_SORT


class InvalidProjectionError(QueryError):
    """A field list that cannot be used."""

    default_code = ErrorCode.INVALID_PROJECTION


class InvalidPipelineError(_OperatorError):
    """An aggregation pipeline with an unknown stage or operator, or values that an operator cannot take."""

    stage = Fact[int | None]("Position of the stage at fault, from 0.")


class QueryMemoryError(QueryError):
    """The query holds more in the owner's memory than it may."""

    bytes_max = Fact[int | None]("The limit that was passed, in bytes.")

    def _describe(self) -> str:
        limit = "" if self.bytes_max is None else f" {self.bytes_max:,} bytes"
        return f"the query needs more memory than its limit{limit}: narrow it, or ask for fewer fields"


class QueryTimeoutError(QueryError, TimeoutError):
    """The query took longer than it may."""

    default_code = ErrorCode.QUERY_TIMEOUT

    def _describe(self) -> str:
        return (
            "the query took too long" if self.timeout_s is None else f"the query took over {seconds_of(self.timeout_s)}"
        )


def _named(id_: str | None, namespace: str | None) -> str:
    what = "the document" if id_ is None else f"document {id_!r}"
    return what if namespace is None else f"{what} in namespace {namespace!r}"


def _of(part: str | None) -> str:
    return "" if part is None else f" of {part!r}"


def _words(value: Any) -> str:
    return text_of(value.__name__ if isinstance(value, type) else value)
