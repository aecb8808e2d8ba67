"""A namespace of a database, for synchronous use."""

# ruff: noqa: PLR0913 - the arguments of these methods are the public ones

from collections.abc import Mapping, Sequence
from typing import Any

from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import Request
from parquedb.cluster.client.explain import ExplainMethods
from parquedb.cluster.client.history import HistoryMethods
from parquedb.cluster.client.many_writes import ManyMethods
from parquedb.cluster.client.pages import Document
from parquedb.cluster.client.queries import QueryMethods
from parquedb.cluster.client.schemas import SchemaMethods
from parquedb.cluster.client.upkeep import UpkeepMethods
from parquedb.cluster.exchange.methods import ExchangeMethods
from parquedb.cluster.loads.bulk import Created, chunks
from parquedb.cluster.loads.bulk_loading import BulkMethods
from parquedb.cluster.loads.many_creates import DOCS_MIN, ManyCreates
from parquedb.cluster.overview.verifying import VerifyMethods
from parquedb.errors import ParqueDBError


class Collection(
    QueryMethods,
    ExplainMethods,
    ManyMethods,
    BulkMethods,
    SchemaMethods,
    UpkeepMethods,
    VerifyMethods,
    HistoryMethods,
    ExchangeMethods,
):
    """One namespace of a database. Pickles; opens nothing until it is used.

    Every method takes `timeout_s`, seconds for the call with all its repeats (default: `settings.client.timeout_s`).
    An argument of the wrong kind raises `ValidationError` before anything is sent. A write of which nobody can say
    whether it was applied when the time is over raises `OutcomeUnknownError` with its `request_id`.
    """

    __slots__ = ()

    def create(
        self,
        data: Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002 - the public name of the argument
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Store a new document and return it as stored.

        Raises:
            AlreadyExistsError: the id is taken.
        """
        operation = arguments.create(self.namespace, data, id=id, actor=actor, request_id=request_id)
        return self._document(operation, timeout_s)

    def create_many(
        self,
        docs: Sequence[Mapping[str, Any]],
        *,
        ordered: bool = True,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> list[str | ParqueDBError]:
        """Store many new documents, each for itself; large lists travel in several calls.

        Returns:
            One entry per document: its id, or the error that refused it. When `ordered`, the first refusal ends it and
            what follows is `CancelledError_`.
        """
        if isinstance(docs, list | tuple) and len(docs) >= DOCS_MIN:
            limit_s = arguments.check_timeout(timeout_s, self._database.settings.client.timeout_s)
            many = ManyCreates(self._database._connection.direct, self.namespace, ordered, actor, limit_s)
            return self._walk(many.steps(docs, request_id))
        created = Created(ordered=ordered)
        for operation in chunks(self.namespace, docs, ordered=ordered, actor=actor, request_id=request_id):
            if not created.add(self._run(operation, timeout_s).value, len(operation.body)):
                break
        return created.finish(len(docs))

    def update(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        ops: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        upsert: bool = False,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        return_document: str = "after",
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document | None:
        """Apply update operators and return the document after (or before) it; None before an insert by `upsert`.

        `array_filters` say which elements each `$[<identifier>]` in a path means:
        `update(id, {"$inc": {"lines.$[line].n": 1}}, array_filters=[{"line.sku": "x"}])`.

        Raises:
            EntityNotFoundError: there is no such document.
            VersionConflictError: it is at another version than expected.
            InvalidUpdateError: the operators are not understood.
        """
        operation = arguments.update(
            self.namespace,
            id,
            ops,
            expected_version=expected_version,
            upsert=upsert,
            array_filters=array_filters,
            return_document=return_document,
            actor=actor,
            request_id=request_id,
        )
        document: Document | None = self._run(operation, timeout_s).value
        return document

    def replace(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        data: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Put other fields in the place of a document's; raises like `update`."""
        operation = arguments.replace(
            self.namespace, id, data, expected_version=expected_version, actor=actor, request_id=request_id
        )
        return self._document(operation, timeout_s)

    def delete(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        hard: bool = False,
        expected_version: int | None = None,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Hide a document, or remove it for good when `hard`; return how many that were (0 or 1).

        Raises:
            VersionConflictError: it is at another version than expected.
        """
        operation = arguments.delete(
            self.namespace, id, hard=hard, expected_version=expected_version, actor=actor, request_id=request_id
        )
        return self._number(operation, timeout_s)

    def restore(
        self,
        id: str,  # noqa: A002 - the public name of the argument
        *,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Bring a soft-deleted document back and return it.

        Raises:
            EntityNotFoundError: there is none, deleted or not.
        """
        operation = arguments.restore(self.namespace, id, actor=actor, request_id=request_id)
        return self._document(operation, timeout_s)

    def batch(
        self,
        operations: Sequence[Mapping[str, Any]],
        *,
        actor: str | None = None,
        request_id: Request | None = None,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """Execute several writes, all or nothing: `[{"op": "create", "data": {...}}, {"op": "delete", "id": "a"}]`.

        Returns:
            What each would have returned, in order.

        Raises:
            ParqueDBError: the first refusal; none of them has been applied.
        """
        operation = arguments.batch(self.namespace, operations, actor=actor, request_id=request_id)
        values: list[Any] = self._run(operation, timeout_s).value
        return values

    def flush(self, *, timeout_s: float | None = None) -> None:
        """Fold everything acknowledged so far into Parquet files."""
        self._database._ask(self.namespace, "flush", timeout_s)

    def stats(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the owner's counters and sizes."""
        stats: dict[str, Any] = self._database._ask(self.namespace, "stats", timeout_s)
        return stats
