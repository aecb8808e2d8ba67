"""How a setting that cannot be used is reported: what was expected, what was found, and what may have been meant."""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from parquedb.errors.plain import repr_of

VALUE_CHARS_MAX: Final = 200

_HIDDEN: Final = frozenset({"key", "keys", "secret", "grant", "token", "api_key", "jwt_secrets", "tls_key_password"})


class Wording:
    """Words problems with the settings of a model.

    Args:
        model: The settings; fields that are models themselves are groups.
        env_name: Returns the environment variable of a setting, by its path.
    """

    def __init__(self, model: type[BaseModel], env_name: Callable[..., str]) -> None:
        self._model = model
        self._env_name = env_name

    def worded(self, problem: Mapping[str, Any], name: str) -> str:
        """Return what is wrong, as told by pydantic's `problem` with the variable `name`; shows no secret."""
        path = [str(part) for part in problem["loc"]]
        if not path:
            # A check across the whole has worded its values itself.
            return f"{name}: {problem['msg'].removeprefix('Value error, ')}"
        label = f"{'.'.join(path)} ({name})"
        kind, value = problem["type"], problem["input"]
        if kind == "missing":
            return f"{label}: expected a value, got none"
        if kind == "extra_forbidden":
            return f"{label}: no such setting{self.did_you_mean(path[-1], within=path[0])}"
        if kind in {"model_type", "model_attributes_type"}:
            example = self._env_name(path[0], next(iter(self._fields_of(path[0]))))
            return f"{label}: expected one variable for each setting, such as {example}"
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
        if not text.startswith("expected"):
            text = f"expected another value: {text}"
        # A check across a group has worded both values itself.
        across = kind == "value_error" and self._fields_of(path[-1])
        return f"{label}: {text}" if across else f"{label}: {text}, got {_shown(path, value)}"

    def did_you_mean(self, name: str, *, within: str | None = None) -> str:
        """Return a hint at settings with a name like this, in the group `within` or anywhere; "" when there is none."""
        if within is not None:
            known = {field: [field] for field in self._fields_of(within)}
        else:
            known = {field: [field] for field in self._model.model_fields}
            for group in self._model.model_fields:
                for field in self._fields_of(group):
                    known.setdefault(field, []).append(f"{group}={{{field!r}: ...}}")
        close = [name] if name in known else difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
        phrases = [phrase for match in close for phrase in known[match]]
        return f"; did you mean {' or '.join(phrases)}?" if phrases else ""

    def _fields_of(self, group: str) -> dict[str, Any]:
        """Return the fields of a group of settings; none for a plain setting."""
        field = self._model.model_fields.get(group)
        kind = field.annotation if field is not None else None
        return dict(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _shown(path: list[str], value: object) -> str:
    # A list of secrets is at fault by the position of one.
    if not _HIDDEN.isdisjoint(path):
        return "a value that is not shown"
    # An address may carry a password before its @.
    text = re.sub(r"://\S*@", "://***@", repr_of(value))
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "..."
