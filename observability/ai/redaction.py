"""Taking out of texts what nobody should store: keys, tokens, passwords, addresses, numbers of cards."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from parquedb.observability.logs.redaction import MASK, redactor

Redact = Callable[[str], str]

DEPTH_MAX: Final = 32
"""Levels of nested content; deeper ones are masked whole."""

# What people say to models, and nobody to a log. What may be long begins only where a run of its characters does, and
# is never given back: searched from each of its letters, a picture in a request would take minutes.
_PERSONAL: Final = re.compile(
    r"""
      \b(sk|pk|rk|ghp|gho|ghs|xox[abpr]|glpat|hf|AIza)[-_]?[A-Za-z0-9_-]{12,}             # Keys of well-known services.
    | (?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+             # An address of mail.
    | \b(?:\d[ -]?){13,19}\b                                                             # A card's number.
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """Return a text without what logs hide either (`logs.redaction`), and without addresses, cards and keys."""
    return _PERSONAL.sub(MASK, redactor.text(text))


def redacted(value: Any, redact: Redact, depth: int = DEPTH_MAX) -> Any:
    """Return content of dicts, lists and texts with every text redacted; values of telling names are masked whole."""
    if isinstance(value, str):
        return redact(value)
    # An int may be the number of a card.
    if value is None or isinstance(value, bool | float) or (type(value) is int and redact(str(value)) == str(value)):
        return value
    if depth == 0:
        return MASK
    if isinstance(value, Mapping):
        return {
            redact(str(name)): MASK if redactor.is_secret(str(name)) else redacted(item, redact, depth - 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item, redact, depth - 1) for item in value]
    return redact(str(value))
