"""Writes under the conditions of `If-Match` and `If-None-Match`.

A condition becomes the `expected_version` of the write wherever it can, so that it is the owner who checks it, in the
same step in which he writes. Only what names versions that a document must not have is looked at first, and written
under the version that was seen.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from parquedb.actors.requests.operations import Outcome
from parquedb.cluster.gateway.call import Call
from parquedb.cluster.gateway.conditions import Conditions, Tags
from parquedb.cluster.gateway.problems import Refusal
from parquedb.errors import (
    AlreadyExistsError,
    EntityNotFoundError,
    ETagMismatchError,
    InvalidInputError,
    ParqueDBError,
    VersionConflictError,
)

ATTEMPTS_MAX: Final = 8
"""Times that a write is tried because the document has moved on to another version that is meant as well."""


class Unmet(Refusal):
    """412: the document is not as the caller demands."""

    def __init__(self, tags: Tags, version: int | None, cause: ParqueDBError | None = None) -> None:
        actual = None if version is None else f'"{version}"'
        super().__init__(
            HTTPStatus.PRECONDITION_FAILED,
            ETagMismatchError(
                f"the condition {str(tags)[:200]} is not met: "
                + ("there is no such document" if actual is None else f"the document has the tag {actual}"),
                expected=str(tags)[:200],
                actual=actual,
                cause=cause,
            ),
        )


async def create_only(call: Call, conditions: Conditions, data: dict[str, Any]) -> Outcome:
    """Create the document that a path names, unless there is one.

    Raises:
        Unmet: there is.
    """
    if conditions.if_match is not None:
        raise Unmet(conditions.if_match, None)
    try:
        return await call.write({"op": "create", "id": call.document_id, "data": data})
    except AlreadyExistsError as error:
        raise Refusal(
            HTTPStatus.PRECONDITION_FAILED,
            ETagMismatchError(f"the condition * is not met: {error.message}", expected="*", cause=error),
        ) from error


async def conditional(call: Call, conditions: Conditions, item: dict[str, Any]) -> Outcome:
    """Carry out an update, a replacement or a deletion of one document.

    Raises:
        Unmet: the document is not as demanded; nothing was changed.
        ParqueDBError: the write was refused for another reason.
    """
    if conditions.if_none_match is not None:
        return await _unless(call, conditions.if_none_match, conditions.if_match, item)
    if conditions.if_match is not None:
        return await _provided(call, conditions.if_match, item)
    return await call.write(item)


async def _provided(call: Call, tags: Tags, item: dict[str, Any]) -> Outcome:
    if tags.anything:
        return await _existing(call, tags, item)
    wanted = set(tags.versions())
    version = max(wanted, default=0)
    for _ in range(ATTEMPTS_MAX):
        if version not in wanted:
            break
        wanted.discard(version)
        try:
            return await call.write({**item, "expected_version": version})
        except VersionConflictError as error:
            # One of the others that are meant, or a reason to refuse.
            conflict, version = error, error.actual or 0
            if version not in wanted:
                raise Unmet(tags, error.actual, conflict) from conflict
    raise Unmet(tags, await _version(call))


async def _existing(call: Call, tags: Tags, item: dict[str, Any]) -> Outcome:
    """Carry out a write to a document that has to exist."""
    try:
        outcome = await call.write({**item, "upsert": False} if "upsert" in item else item)
    except EntityNotFoundError as error:
        raise Unmet(tags, None, error) from error
    if not outcome.value:
        raise Unmet(tags, None)
    return outcome


async def _unless(call: Call, unwanted: Tags, wanted: Tags | None, item: Mapping[str, Any]) -> Outcome:
    for _ in range(ATTEMPTS_MAX):
        version = await _version(call)
        if wanted is not None and not wanted.matches_strongly(version):
            raise Unmet(wanted, version)
        if unwanted.matches_weakly(version):
            raise Unmet(unwanted, version)
        if version is None:
            if item.get("upsert"):
                raise InvalidInputError("If-None-Match beside upsert: expected PUT with If-None-Match: *")
            raise EntityNotFoundError(id=call.document_id, namespace=call.namespace)
        try:
            return await call.write({**item, "expected_version": version})
        except VersionConflictError as error:
            conflict = error
    raise conflict


async def _version(call: Call) -> int | None:
    document = (await call.ask({"op": "get", "id": call.document_id})).value
    return None if document is None else document["version"]
