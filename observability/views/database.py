"""What a view asks of a database: both clients have it, and so has a test's engine without Ray.

Methods are told as the synchronous client has them. The asynchronous client's promise the same, so a view asks by
steps (`parquedb.steps`), and looks at pages by their items instead of iterating over them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

from parquedb.steps import Steps

_DELETED_AT_ONCE: Final = 1_000

Row = dict[str, Any]
"""A document."""


class Change(Protocol):
    """One change of one document, as a feed gives it."""

    @property
    def seq(self) -> int:
        """Its number: 1, 2, 3, ... without gaps."""

    @property
    def action(self) -> str:
        """`create`, `update`, `replace`, `delete`, `restore`, `remove` or `schema`."""

    @property
    def id(self) -> str:
        """The bare id of the document."""

    @property
    def document(self) -> Row | None:
        """The document afterwards."""


class Found(Protocol):
    """Documents of a query, page by page; iterating gives those of all pages."""

    @property
    def items(self) -> list[Row]:
        """Those of this page."""

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; None on the last one."""

    @property
    def has_more(self) -> bool:
        """Whether documents follow this page."""

    def __iter__(self) -> Iterator[Row]: ...


class Snapshot(Protocol):
    """All documents at one moment."""

    seq: int

    def documents(self) -> Iterator[Row]:
        """Yield all documents, in no particular order."""

    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> "Snapshot": ...

    def __exit__(self, *exception: Any) -> Any: ...


class Collection(Protocol):
    """One namespace; see `parquedb.cluster.client.collection.Collection`."""

    namespace: str

    def create(self, data: Mapping[str, Any], *, id: str | None = None) -> Row:  # noqa: A002 - as there
        """Store a new document."""

    def create_many(self, docs: Sequence[Mapping[str, Any]], *, ordered: bool = True) -> Sequence[Any]:
        """Store many documents; return the id or the error of each."""

    def get(self, id: str) -> Row | None:  # noqa: A002 - as there
        """Return a document, or None."""

    def find(  # noqa: PLR0913 - as there
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - as there
        *,
        sort: Any = None,
        limit: int = 100,
        cursor: str | None = None,
        fields: Any = None,
        as_of: int | datetime | None = None,
    ) -> Found:
        """Return the documents that match."""

    def update(self, id: str, ops: Mapping[str, Any], *, upsert: bool = False) -> Row | None:  # noqa: A002 - as there
        """Apply update operators to a document."""

    def delete_many(self, filter: Mapping[str, Any] | None, *, hard: bool = False) -> int:  # noqa: A002 - as there
        """Delete the documents that match; return how many."""

    def batch(self, operations: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Execute several writes, all or nothing."""

    def changes(self, after: int = 0, *, follow: bool = True) -> Iterator[Change]:
        """Iterate over all changes after a seq."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Take an immutable view of all documents."""

    def stats(self) -> Mapping[str, Any]:
        """Return counters, `seq` of the last change among them."""


class Database(Protocol):
    """Namespaces by name."""

    def collection(self, namespace: str) -> Any:
        """Return a `Collection`."""


def each_page(
    documents: Collection,
    use: Callable[[list[Row]], object],
    condition: Mapping[str, Any] | None,
    **options: Any,
) -> Steps[int]:
    """Have `use` called with the documents of each page of a query; return how many pages there were."""
    pages, cursor = 0, None
    while True:
        page = yield partial(documents.find, condition, cursor=cursor, **options)
        use(page.items)
        pages, cursor = pages + 1, page.next_cursor
        if cursor is None:
            return pages


def delete_in_pages(documents: Collection, condition: Mapping[str, Any]) -> Steps[int]:
    """Remove all documents that match for good, some at a time, since one write may change only so many."""
    deleted = 0
    while True:
        page = yield partial(documents.find, condition, limit=_DELETED_AT_ONCE, fields=["$id"])
        ids = [document["$id"] for document in page.items]
        if ids:
            deleted += yield partial(documents.delete_many, {"$id": {"$in": ids}}, hard=True)
        if not page.has_more:
            return deleted
