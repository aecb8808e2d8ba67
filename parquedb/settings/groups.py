"""What all groups of settings have in common, and the checks that several of them need."""

import os
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from parquedb.errors import ConfigurationError

URL_CHARS_MAX: Final = 4096
_EXPECTED_URL: Final = "expected a path, file://<path>, s3://<bucket>/<prefix> or memory://<name>"


class SettingsGroup(BaseModel):
    """Some settings of one subject; immutable, and without room for unknown ones."""

    # Owners take theirs from pickles, unchecked, and start without what checking takes.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take a pickle, also of another version."""
        super().__setstate__(received(type(self), state))


def received(model: type[BaseModel], state: dict[Any, Any]) -> dict[Any, Any]:
    """Return the state of pickled settings for this version, whichever one has made them.

    What an earlier version did not send has its default. What only a later one knows is left out if nobody set it.

    Raises:
        ConfigurationError: somebody has set what only a later version knows.
    """
    known, values = model.model_fields, state["__dict__"]
    unknown = values.keys() - known
    if asked := sorted(unknown & state["__pydantic_fields_set__"]):
        raise ConfigurationError(
            f"{asked[0]!r} of {model.__name__} was set in a process with a later version of ParqueDB, and this one "
            "does not know it: upgrade the nodes that owners run on first, or leave it out until then",
            setting=asked[0],
        )
    defaults = {
        name: field.get_default(call_default_factory=True) for name, field in known.items() if not field.is_required()
    }
    return {**state, "__dict__": {**defaults, **{name: values[name] for name in values if name in known}}}


def at_most(group: SettingsGroup, smaller: str, larger: str) -> None:
    """Check two settings of a group against each other.

    Raises:
        ValueError: `smaller` is above `larger`.
    """
    if getattr(group, smaller) > getattr(group, larger):
        found = f"{getattr(group, smaller):g} and {getattr(group, larger):g}"
        raise ValueError(f"expected {smaller} to be at most {larger}, got {found}")


def checked_url(value: Any) -> Any:
    """Return the address of a database as text; None stays None.

    Raises:
        ValueError: it can be none, or holds credentials.
    """
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text or len(text) > URL_CHARS_MAX:
        raise ValueError(_EXPECTED_URL)
    scheme, found, _ = text.partition("://")
    if found and scheme not in {"file", "s3", "memory"}:
        raise ValueError(_EXPECTED_URL)
    if scheme == "s3" and found:
        _without_credentials(text)
        if not urlsplit(text).netloc:
            raise ValueError("expected s3://<bucket>/<prefix>")
    return text


def checked_endpoint(value: str | None) -> str | None:
    """Return the address of an S3 server; None stays None.

    Raises:
        ValueError: it can be none, or holds credentials.
    """
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://<host>:<port> or https://<host>")
    _without_credentials(value)
    return value


def _without_credentials(url: str) -> None:
    if "@" in urlsplit(url).netloc:
        raise ValueError("expected an address without credentials; give them as key and secret")
