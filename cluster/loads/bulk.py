"""Cutting `create_many` into calls of bounded size, and putting their answers together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from parquedb.actors.requests import arguments
from parquedb.actors.requests.operations import Operation, Request
from parquedb.cluster.transport.delivery import encode_wire
from parquedb.errors import CancelledError_, ParqueDBError

CHUNK_DOCS_MAX = 2_000
CHUNK_BYTES_MAX = 4 << 20


def chunks(
    namespace: str,
    docs: Sequence[Mapping[str, Any]],
    *,
    ordered: bool,
    actor: str | None,
    request_id: Request | None,
) -> Iterator[Operation]:
    """Yield `create_many` operations of at most `CHUNK_DOCS_MAX` documents and about `CHUNK_BYTES_MAX` bytes.

    Equal documents are cut alike, so that a repeated call with the same `request_id` meets the same chunks.

    Raises:
        ValidationError: not a list of dicts, or a value of a type that documents cannot hold.
    """
    options: dict[str, Any] = {"ordered": ordered, "actor": actor}
    start = number = 0
    while start < len(docs) or number == 0:
        several = number > 0 or len(docs) > CHUNK_DOCS_MAX
        own = f"{request_id}/{number}" if isinstance(request_id, str) and several else request_id
        checked = arguments.create_many(namespace, docs[start : start + CHUNK_DOCS_MAX], request_id=own, **options)
        body: list[msgspec.Raw] = []
        size = 0
        for data in checked.body:
            part = encode_wire(data)
            size += len(part)
            if body and size > CHUNK_BYTES_MAX:
                break
            # Encoded once here, carried into the call as it is.
            body.append(msgspec.Raw(part))
        # A size says that the documents have been checked; see `Operation.size`.
        checked_size = min(size, CHUNK_BYTES_MAX) if checked.size else 0
        yield Operation("create_many", None, body, checked.options, checked.request, size=checked_size)
        start += len(body)
        number += 1


class Created:
    """Gathers the answers of the chunks of one `create_many`."""

    def __init__(self, *, ordered: bool) -> None:
        """Start with nothing answered."""
        self._ordered = ordered
        self.items: list[str | ParqueDBError] = []

    def add(self, answer: Mapping[str, Any], asked: int) -> bool:
        """Take one chunk's answer for `asked` documents; False when nothing more shall be sent."""
        errors = {index: ParqueDBError.from_json(error) for index, error in answer["errors"]}
        answered = [errors.get(index) or id_ for index, id_ in enumerate(answer["ids"])]
        self.items += answered
        self._skip(asked - len(answered))
        return not (self._ordered and errors)

    def finish(self, asked: int) -> list[str | ParqueDBError]:
        """Return one entry per document of the call: its id, or why it was not created."""
        self._skip(asked - len(self.items))
        return self.items

    def _skip(self, count: int) -> None:
        self.items += [CancelledError_("not tried: a document before it was refused") for _ in range(count)]
