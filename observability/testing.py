"""A hook that remembers, for tests of applications and of ParqueDB itself."""

from typing import Any, NamedTuple

from parquedb.observability.hooks import CALLBACKS


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


class RecordingHook:
    """Collects every callback in `records`, in the order they came.

    Args:
        only: Names of the callbacks to have; all by default.
    """

    def __init__(self, *only: str) -> None:
        self.records: list[Record] = []
        self._only = only

    def __getattr__(self, name: str) -> Any:
        if name not in CALLBACKS or (self._only and name not in self._only):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def remember(context: Any, result: Any = None) -> None:
            self.records.append(Record(name, context, result))

        return remember

    @property
    def callbacks(self) -> list[str]:
        """The names of the callbacks made so far."""
        return [record.callback for record in self.records]

    def of(self, callback: str) -> list[Record]:
        """Return the records of one callback."""
        return [record for record in self.records if record.callback == callback]

    def clear(self) -> None:
        """Forget everything."""
        self.records.clear()
