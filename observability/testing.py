"""Hooks that remember, for tests of applications and of ParqueDB itself.

`RecordingHook` keeps what one process is told; `FileRecordingHook` writes it down, so that a test also sees what hooks
hear in the owners of namespaces, which are other processes.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from parquedb.observability.hooks import CALLBACKS

RECORDS_MAX: Final = 100_000
"""Callbacks that a hook remembers; older ones are forgotten."""


class Record(NamedTuple):
    """One callback that was made.

    Attributes:
        callback: Its name, such as `on_query_end`.
        context: Its first argument.
        result: Its second argument: a result, an error, or None where there is no second.
    """

    callback: str
    context: Any
    result: Any = None


class _Recorder:
    """A hook with the callbacks it is asked to have, all of which do the same."""

    inline = True
    """What is recorded shall be there when the operation has ended."""

    def __init__(self, only: tuple[str, ...]) -> None:
        unknown = sorted(set(only) - CALLBACKS)
        if unknown:
            raise ValueError(
                f"no such callbacks: {', '.join(unknown)}; expected some of {', '.join(sorted(CALLBACKS))}"
            )
        self._only = only

    def __getattr__(self, name: str) -> Any:
        if name not in CALLBACKS or (self._only and name not in self._only):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def remember(context: Any, result: Any = None) -> None:
            self._remember(Record(name, context, result))

        return remember

    def _remember(self, record: Record) -> None:
        raise NotImplementedError


class RecordingHook(_Recorder):
    """Collects callbacks in `records`, in the order they came; called in place, so they are there at once.

    Args:
        only: Names of the callbacks to have; all by default.
        records_max: How many are remembered; the newest stay.
    """

    def __init__(self, *only: str, records_max: int = RECORDS_MAX) -> None:
        super().__init__(only)
        self._records: deque[Record] = deque(maxlen=records_max)
        self._arrived = threading.Condition()

    def __reduce__(self) -> tuple[Any, ...]:
        # What was recorded here says nothing about another process.
        return _recording, (self._only, self._records.maxlen)

    @property
    def records(self) -> list[Record]:
        """The callbacks made so far."""
        return list(self._records)

    @property
    def callbacks(self) -> list[str]:
        """The names of the callbacks made so far."""
        return [record.callback for record in self.records]

    def of(self, callback: str, operation: str | None = None) -> list[Record]:
        """Return the records of one callback, all of them or those about one operation (`create`, `find`, ...)."""
        return [
            record
            for record in self.records
            if record.callback == callback and operation in {None, getattr(record.context, "operation", None)}
        ]

    def wait_for(self, callback: str, count: int = 1, *, timeout_s: float = 10.0) -> list[Record]:
        """Return the records of one callback once there are so many.

        Raises:
            AssertionError: there were fewer after `timeout_s` seconds.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.of(callback)) >= count, timeout_s):
                raise AssertionError(f"expected {count} {callback} within {timeout_s:g} s, got {self.callbacks}")
            return self.of(callback)

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()

    def _remember(self, record: Record) -> None:
        with self._arrived:
            self._records.append(record)
            self._arrived.notify_all()


def _recording(only: tuple[str, ...], records_max: int) -> RecordingHook:
    return RecordingHook(*only, records_max=records_max)


class FileRecordingHook(_Recorder):
    """Appends a line of JSON to a file for every callback. It pickles, so it can be given to `connect(hooks=[...])`.

    Args:
        path: The file; every process that has the hook appends to it.
        only: Names of the callbacks to have; all by default.
    """

    def __init__(self, path: str | Path, *only: str) -> None:
        super().__init__(only)
        # Owners work in other directories.
        self.path = Path(path).absolute()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self.path), *self._only)

    def records(self) -> list[Record]:
        """Read what was recorded: contexts and results as dicts, errors as `{"error": name, "message": text}`."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [Record(*json.loads(line)) for line in lines]

    def wait_until(self, found: Callable[[list[Record]], bool], *, timeout_s: float = 10.0) -> list[Record]:
        """Return the records once `found` says that they will do.

        Raises:
            AssertionError: it did not within `timeout_s` seconds.
        """
        end_s = time.monotonic() + timeout_s
        while not found(records := self.records()):
            if time.monotonic() > end_s:
                raise AssertionError(f"not what was expected within {timeout_s:g} s: {records}")
            time.sleep(0.02)
        return records

    def _remember(self, record: Record) -> None:
        plain = [record.callback, _plain(record.context), _plain(record.result)]
        # One short write in append mode: lines of several processes do not mix.
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(plain, default=repr).encode() + b"\n")


def _plain(told: Any) -> Any:
    if isinstance(told, BaseException):
        return {"error": type(told).__name__, "message": str(told)}
    return {field.name: getattr(told, field.name) for field in fields(told)} if is_dataclass(told) else told
