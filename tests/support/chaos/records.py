"""What everybody was told, as lines in a file that survive the process that wrote them."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tests.support.workloads import Attempt, State


@dataclass(slots=True)
class Write:
    """A write that is about to be sent.

    Attributes:
        token: What it puts into every document it changes.
        kind: `create`, `add`, `versioned` or `transfer`.
        ids: The bare ids it means to change.
        at_s: Monotonic seconds, comparable between the processes of one machine.
        request: The caller's own request id, where it gave one.
        amount: What it adds to the number of its first document; a transfer takes it from the second.
        expected: `expected_version`.
    """

    namespace: str
    token: str
    kind: str
    ids: list[str]
    at_s: float
    request: str | None = None
    amount: int = 0
    expected: int | None = None


@dataclass(slots=True)
class Answer:
    """What a write came to; a write that was repeated may have several.

    Attributes:
        state: Value of a `State`.
        changed: Bare id and version of each document, when acknowledged.
        error: Name of the error's class, or "".
        request: The request id an unknown outcome may be repeated with.
        repeated: Whether it answers a repetition, perhaps by another process than the one that began.
    """

    namespace: str
    token: str
    at_s: float
    state: str
    changed: list[tuple[str, int]] = field(default_factory=list)
    error: str = ""
    request: str | None = None
    repeated: bool = False


@dataclass(slots=True)
class Read:
    """A read of one document: its version and the token of the write that made it."""

    namespace: str
    observer: str
    id: str
    started_s: float
    done_s: float
    version: int
    token: str


@dataclass(slots=True)
class Total:
    """What all accounts held together, by one `find` or one snapshot (`how`)."""

    namespace: str
    how: str
    accounts: int
    total: int


@dataclass(slots=True)
class Stored:
    """A document as the last reader found it."""

    namespace: str
    document: dict[str, Any]


RECORDS: dict[str, type] = {kind.__name__: kind for kind in (Write, Answer, Read, Total, Stored)}


class Recorder:
    """Appends records to a file. Each is with the kernel before the next step, so a killed process loses none."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", buffering=1)

    def note(self, record: Any) -> None:
        """Append a record."""
        self._file.write(json.dumps([type(record).__name__, asdict(record)]) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def load(paths: Iterable[Path]) -> Iterator[Any]:
    """Yield the records of files, file by file.

    The last line of a killed writer may be a part; one that was killed as it started has left no file.
    """
    for path in filter(Path.exists, paths):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                kind, fields = json.loads(line)
                yield RECORDS[kind](**fields)


def undecided(records: Iterable[Any]) -> list[tuple[Write, str]]:
    """Return the writes nobody was told the outcome of and that can be repeated, each with its request id."""
    writes: dict[str, Write] = {}
    requests: dict[str, str] = {}
    for record in records:
        if isinstance(record, Write):
            writes[record.token] = record
            if record.request is not None:
                requests[record.token] = record.request
        elif isinstance(record, Answer):
            if record.state != State.UNKNOWN.value:
                writes.pop(record.token, None)
            elif record.request is not None:
                requests[record.token] = record.request
    return [(write, requests[token]) for token, write in writes.items() if token in requests]


def attempts_of(records: Iterable[Any]) -> dict[str, list[Attempt]]:
    """Return the attempts of each namespace, with what their callers know of them.

    A write without an answer is unknown: its caller was killed. An acknowledgement or a refusal of a repetition settles
    what had been in doubt.
    """
    found: dict[str, dict[str, Attempt]] = {}
    for record in records:
        if isinstance(record, Write):
            attempt = Attempt(record.token, tuple(record.ids), record.at_s, error="NoAnswer")
            found.setdefault(record.namespace, {})[record.token] = attempt
        elif isinstance(record, Answer):
            attempt = found[record.namespace][record.token]
            attempt.done_s, attempt.state, attempt.error = record.at_s, State(record.state), record.error
            attempt.changed = [(id_, version) for id_, version in record.changed]
    return {namespace: list(attempts.values()) for namespace, attempts in found.items()}


def now_s() -> float:
    """Return monotonic seconds, the same in all processes of this machine."""
    return time.monotonic()
