"""`parquedb query`: documents as a table or as lines of JSON, their number, or how they are found."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from parquedb.cluster.cli.document_table import DocumentTable
from parquedb.cluster.cli.explained import show_explanation
from parquedb.cluster.cli.opening import check_names, opened, place_of
from parquedb.cluster.cli.query_arguments import as_of_of, fields_of, filter_of, sort_of
from parquedb.cluster.cli.terminal import notices, output, page_width
from parquedb.cluster.cli.wording import counted
from parquedb.cluster.client.collection import Collection
from parquedb.cluster.client.pages import Document
from parquedb.documents import extended_json
from parquedb.documents.values import MANAGED_FIELDS

PAGE: Final = 1_000
"""Documents that are asked for at once."""

_HIDDEN_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was typed.

    Attributes:
        filter: Which documents, as JSON; None for all.
        sort: Fields to sort by, with commas between them; a minus in front of a field turns it round.
        fields: Fields to show, with commas between them, or a projection as JSON.
        limit: Documents at most; 0 for all.
        skip: How many of the first to leave out.
        as_of: A past state: a seq or a time.
        deleted: Whether soft-deleted documents are seen.
        total: Whether to say how many match.
    """

    filter: str | None = None
    sort: str | None = None
    fields: str | None = None
    limit: int = 100
    skip: int = 0
    as_of: str | None = None
    deleted: bool = False
    total: bool = False

    def selection(self) -> dict[str, Any]:
        """Return the arguments that say which documents; raises what `query_arguments` does."""
        return {
            "filter": filter_of(self.filter),
            "include_deleted": self.deleted,
            "as_of": as_of_of(self.as_of),
        }

    def options(self) -> dict[str, Any]:
        """Return all arguments of a `find`; raises what `query_arguments` does."""
        limit = min(self.limit or PAGE, PAGE)
        shown = {"sort": sort_of(self.sort), "fields": fields_of(self.fields)}
        return self.selection() | shown | {"limit": limit, "skip": self.skip}


@dataclass
class QueryCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        namespace: Whose documents.
        asked: Which of them, and how.
        as_json: Whether to print JSON, a line for each document, instead of a table.
        screen: Where documents go.
        notes: Where the rest goes.
    """

    url: str | None
    namespace: str
    asked: Asked = field(default_factory=Asked)
    as_json: bool = False
    screen: Console = field(default_factory=output)
    notes: Console = field(default_factory=notices)

    def run(self) -> bool:
        """Print the documents; return whether there were any.

        Raises:
            ParqueDBError: the query is not understood, or cannot be answered.
        """
        with self._collection() as collection:
            return self._show(collection)

    def count(self) -> bool:
        """Print how many documents match; return whether any does; raises as `run`."""
        with self._collection() as collection:
            number = collection.count(**self.asked.selection())
        print(json.dumps({"count": number}) if self.as_json else number, file=self.screen.file)
        return number > 0

    def explain(self) -> bool:
        """Print how the query is carried out; raises as `run`."""
        with self._collection() as collection:
            found = collection.explain(**self.asked.options())
        if self.as_json:
            print(json.dumps(found.to_dict()), file=self.screen.file)
        else:
            show_explanation(found, self.screen)
        return True

    @contextmanager
    def _collection(self) -> Iterator[Collection]:
        """Open the namespace, once all that can be refused without it has been."""
        self.asked.options()
        check_names([self.namespace], place_of(self.url))
        with opened(self.url) as database:
            yield database.collection(self.namespace)

    def _show(self, collection: Collection) -> bool:
        walk = _Walk(collection, self.asked)
        if self.as_json:
            for documents in walk.pages():
                for document in documents:
                    print(extended_json.dumps_document(document), file=self.screen.file)
                self.screen.file.flush()
        else:
            table = DocumentTable(self.screen, page_width(self.screen))
            for documents in walk.pages():
                table.show(documents)
            self._tell_hidden(table.hidden)
        self._tell_rest(walk)
        return walk.shown > 0

    def _tell_hidden(self, hidden: list[str]) -> None:
        # Those that the database sets are in every document; nobody misses them.
        hidden = [name for name in hidden if name not in MANAGED_FIELDS]
        if hidden:
            more = f" and {len(hidden) - _HIDDEN_NAMED:,} more" if len(hidden) > _HIDDEN_NAMED else ""
            named = ", ".join(hidden[:_HIDDEN_NAMED])
            advice = "--fields chooses, --json shows everything"
            self.notes.print(f"[dim]no room for {escape(named)}{more}: {advice}[/]")

    def _tell_rest(self, walk: "_Walk") -> None:
        if walk.total is not None:
            self.notes.print(f"[dim]{counted(walk.shown, 'document')} of {walk.total:,}[/]")
        elif walk.more:
            self.notes.print(f"[dim]{counted(walk.shown, 'document')}, and there are more: --limit 0 shows all[/]")
        elif not walk.shown:
            self.notes.print("[dim]no document matches[/]")


class _Walk:
    """The pages of a query up to its limit.

    Attributes:
        shown: Documents given so far.
        total: How many match; None unless it was asked.
        more: Whether some were left when the limit was reached.
    """

    def __init__(self, collection: Collection, asked: Asked) -> None:
        self._collection = collection
        self._asked = asked
        self.shown = 0
        self.total: int | None = None
        self.more = False

    def pages(self) -> Iterator[list[Document]]:
        """Give one page after the other."""
        limit = self._asked.limit
        page = self._collection.find(**self._asked.options(), total=self._asked.total)
        self.total = page.total
        while True:
            documents = page.items[: limit - self.shown] if limit else page.items
            self.shown += len(documents)
            yield documents
            cut = len(documents) < len(page.items)
            if cut or page.next_cursor is None or page.following is None or self.shown == limit:
                self.more = cut or page.next_cursor is not None
                return
            page = page.following(page.next_cursor)
