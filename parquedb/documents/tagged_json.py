"""Documents as JSON in which a one-key object stands for a value that JSON lacks; each format has tags of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson


class TaggedJson:
    """One such format.

    Args:
        writers: For each Python type, what JSON holds for a value of it: the value itself, or `{tag: ...}`.
        readers: For each tag, the way back; may raise ValueError.
        literal: Tag around a user's own object with a single key that starts with `$`.
    """

    def __init__(
        self,
        writers: Mapping[type, Callable[[Any], Any]],
        readers: Mapping[str, Callable[[Any], Any]],
        literal: str,
    ) -> None:
        self._writers = writers
        self._readers = readers
        self._literal = literal

    def tagged(self, value: Any) -> Any:
        """Return a value as plain JSON data.

        Raises:
            TypeError: no document can hold it.
        """
        python = type(value)
        if python is bool or value is None:
            return value
        if python is dict:
            data = {name: self.tagged(item) for name, item in value.items()}
            return {self._literal: data} if len(data) == 1 and next(iter(data)).startswith("$") else data
        if python is list:
            return [self.tagged(item) for item in value]
        write = self._writers.get(python)
        if write is None:
            raise TypeError(f"a document cannot hold a {python.__name__}")
        return write(value)

    def untagged(self, data: Any) -> Any:
        """Return the value that `tagged` was given.

        Raises:
            ValueError: an unknown tag, or one around something else than it stands for.
        """
        python = type(data)
        if python is dict:
            if len(data) == 1:
                ((name, item),) = data.items()
                if name == self._literal:
                    return {key: self.untagged(child) for key, child in item.items()}
                if name.startswith("$"):
                    read = self._readers.get(name)
                    if read is None:
                        raise ValueError(f"unknown tag {name!r}")
                    return read(item)
            return {name: self.untagged(item) for name, item in data.items()}
        if python is list:
            return [self.untagged(item) for item in data]
        return data

    def untagged_request(self, data: Any) -> Any:
        """Return what somebody may have written by hand: as `untagged`, but unknown tags are operators, and kept.

        Raises:
            ValueError: a tag around something else than it stands for.
        """
        python = type(data)
        if python is dict:
            if len(data) == 1:
                ((name, item),) = data.items()
                if name == self._literal and _is_one_dollar_key(item):
                    return {key: self.untagged_request(child) for key, child in item.items()}
                read = self._readers.get(name)
                if read is not None:
                    return read(item)
            return {name: self.untagged_request(item) for name, item in data.items()}
        if python is list:
            return [self.untagged_request(item) for item in data]
        return data

    def dumps(self, value: Any) -> bytes:
        """Return the JSON text of a value."""
        return orjson.dumps(self.tagged(value))

    def loads(self, text: str | bytes) -> Any:
        """Return the value of a JSON text; raises as `untagged`."""
        return self.untagged(orjson.loads(text))


def _is_one_dollar_key(item: Any) -> bool:
    return type(item) is dict and len(item) == 1 and next(iter(item)).startswith("$")


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: no lone surrogate."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
