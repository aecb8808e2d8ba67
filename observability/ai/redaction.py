"""Taking out of texts what nobody should store: keys, tokens, passwords, addresses, numbers of cards."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Redact = Callable[[str], str]

MASK: Final = "[redacted]"
DEPTH_MAX: Final = 32
"""Levels of nested content; deeper ones are masked whole."""

_SECRETS: Final = re.compile(
    r"""
      -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    | \b(sk|pk|rk|ghp|gho|ghs|xox[abpr]|glpat|hf|AIza|AKIA|ASIA)[-_]?[A-Za-z0-9_-]{12,}   # Keys of well-known services.
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*                           # A JSON web token.
    | (?<=bearer[ ])[A-Za-z0-9._~+/=-]{8,}
    | (?<=://)[^\s/:@]+:[^\s/@]+(?=@)                                                     # A password in a URL.
    | [A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+
    | \b(?:\d[ -]?){13,19}\b                                                              # A card's number.
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_NAMED: Final = re.compile(
    r"""(["']?\b(?:password|passwd|secret|token|api[_-]?key|authorization)\b["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;}]+)""",
    re.IGNORECASE,
)
_SECRET_NAMES: Final = re.compile(r"password|passwd|secret|token$|api[_-]?key|authorization|credential", re.IGNORECASE)


def redact_text(text: str) -> str:
    """Return a text in which what looks like a secret or a person's address is masked."""
    return _SECRETS.sub(MASK, _NAMED.sub(rf"\1{MASK}", text))


def redacted(value: Any, redact: Redact, depth: int = DEPTH_MAX) -> Any:
    """Return content of dicts, lists and texts with every text redacted; values of telling names are masked whole."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth == 0:
        return MASK
    if isinstance(value, Mapping):
        return {
            redact(str(name)): MASK if _SECRET_NAMES.search(str(name)) else redacted(item, redact, depth - 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item, redact, depth - 1) for item in value]
    return redact(str(value))
