"""Taking secrets out of text and data before anybody else sees them.

Three nets, because each has holes that another one covers:

    values   secrets that this process was given (`hide`), wherever they turn up, also percent-encoded
    names    what stands behind `password=`, `"token": ` and the like, and behind configured names of fields
    shapes   credentials in URLs, `Authorization` headers, bearer tokens, JWTs, API keys, grants, private keys, key ids

It errs on the side of hiding. Values of fewer than `SECRET_CHARS_MIN` characters are left to the other two nets:
replacing every `test` would make a log useless.
"""

import functools
import os
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from parquedb.errors.plain import jsonable, text_of

MASK: Final = "***"
SECRET_CHARS_MIN: Final = 8
SECRETS_MAX: Final = 200
"""Values that are remembered (count); beyond it the oldest are forgotten."""

_WORDS = (
    "passwords?|passwd|passphrase|pwd|secrets?|token|credentials?|authorization|api[_-]?key|access[_-]?key|"
    "secret[_-]?key|private[_-]?key|account[_-]?key|access[_-]?key[_-]?id|client[_-]?secret|session[_-]?id|cookies?|"
    "signature"
)
_VALUE = r"""(?:
      (?:b|u|r|f|br|rb)?(?:"(?:[^"\\]|\\.)*+(?:"|\Z)|'(?:[^'\\]|\\.)*+(?:'|\Z))   # Cut off, it goes on to the end.
    # JSON within JSON: up to the next quote behind as many backslashes.
    | (?P<quote>\\+["'])(?:(?!(?<!\\)(?P=quote)).)*+(?:(?P=quote)|\Z)
    | \{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\} | \[[^\[\]]*+(?:\[[^\[\]]*+\][^\[\]]*+)*+\]
    | [^\s,;&(){}\[\]"'<>]+(?:\([^()]*+\))?
)"""
# A name may be part of a longer one (`aws_secret_access_key`); bounded, or a long word would be searched from each of
# its letters. Not the plural: `tokens=512` is a count.
_NAME = rf"(?<![\w-])[\w-]{{0,40}}?(?:{_WORDS})(?![\w-])"
_IS = r"\\*[\"']?\s*[:=]\s*"
_PAIR_FLAGS = re.IGNORECASE | re.DOTALL | re.VERBOSE
_PAIR = re.compile(rf"({_NAME}{_IS}){_VALUE}", _PAIR_FLAGS)
# Without a boundary before the word, as in texts: `accessToken`.
_SECRET_NAME = re.compile(rf".*(?:{_WORDS})", re.IGNORECASE | re.DOTALL)

_SHAPES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    # A header's value goes on to the end of its line: it may have parts with commas.
    (
        re.compile(r"((?:authorization|set-cookie|cookie|x-api-key)[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{MASK}"),
    # Up to the last `@`: a user may be an address of mail, and a password hold anything.
    (re.compile(r"://[^\s\"'<>@/:]{0,256}(?:[:@][^\s\"'<>]{0,1024})?@"), f"://{MASK}@"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]+(?:\.[\w-]*)?"), MASK),
    # Our API keys; the part that names one stays.
    (re.compile(r"\b(pq_[0-9a-z]{16}_)[0-9A-Za-z]{10,}"), rf"\1{MASK}"),
    # Grants (`parquedb.access.grants`).
    (re.compile(r"\bpqg1\.[\w-]+"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
    (re.compile(r"(<(?:AWSAccessKeyId|StringToSign|SignatureProvided|CanonicalRequest)>)[^<]*"), rf"\1{MASK}"),
    (re.compile(r"(\bCredential=)[^\s,&]+"), rf"\1{MASK}"),
)

# A part of everything that the patterns above find, in lower case: nearly no text holds one, and looking for them costs
# a twentieth of the patterns.
_HINTS: Final = (
    *(
        "private key",
        "authorization",
        "cookie",
        "api",
        "bearer",
        "://",
        "eyj",
        "pqg1",
        "akia",
        "asia",
        "pq_",
        "<aws",
        "<string",
        "<sign",
    ),
    *("<canon", "credential", "pass", "pwd", "secret", "token", "access", "private", "account", "session", "signature"),
)
_SHORT_CHARS: Final = 20_000

_SECRET_VARIABLES = re.compile(
    r"(?:AWS_(?:SECRET_ACCESS_KEY|SESSION_TOKEN)|PARQUEDB_(?:SECRET|KEY|ACCESS__GRANT)"
    r"|PARQUEDB_GATEWAY__ACCESS__TLS_KEY_PASSWORD)\Z"
)
_SECRET_LISTS = re.compile(r"PARQUEDB_(?:ACCESS__KEYS|GATEWAY__ACCESS__JWT_SECRETS)\Z")
_PLAIN = frozenset({bool, type(None)})
_HEADER_VARIABLES = re.compile(r"OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS\Z")


@functools.lru_cache(maxsize=4096)
def _means_a_secret(name: str) -> bool:
    return _SECRET_NAME.fullmatch(name) is not None


class Redactor:
    """What is hidden, and how. Any thread may use and extend it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[str, None] = {}
        self._fields: frozenset[str] = frozenset()
        self._secret_pattern: re.Pattern[str] | None = None
        self._field_pattern: re.Pattern[str] | None = None

    def hide(self, *secrets: str | None) -> None:
        """Hide these values from now on; None and short ones are ignored."""
        forms = {form for one in secrets if one for form in (one, quote(one, safe=""), quote_plus(one))}
        new = {form: None for form in sorted(forms) if len(form) >= SECRET_CHARS_MIN}
        with self._lock:
            if new.keys() <= self._secrets.keys():
                return
            self._secrets |= new
            while len(self._secrets) > SECRETS_MAX:
                del self._secrets[next(iter(self._secrets))]
            # Longest first, so that of a secret which begins like another one no end is left over.
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._secret_pattern = re.compile("|".join(map(re.escape, longest_first)))

    def hide_fields(self, names: Iterable[str]) -> None:
        """Hide what stands under these names, at any depth, from now on."""
        with self._lock:
            self._fields |= frozenset(names)
            if self._fields:
                either = "|".join(map(re.escape, sorted(self._fields)))
                self._field_pattern = re.compile(
                    rf"((?<![\w-])(?:{either})(?![\w-]){_IS}){_VALUE}", re.DOTALL | re.VERBOSE
                )

    def hide_environment(self, variables: Mapping[str, str] | None = None) -> None:
        """Hide the secrets that environment variables hold, the process's own by default."""
        for name, value in (os.environ if variables is None else variables).items():
            if _SECRET_VARIABLES.match(name):
                self.hide(value)
            elif _SECRET_LISTS.match(name):
                self.hide(*(part.strip() for part in value.split(",")))
            elif _HEADER_VARIABLES.match(name):
                self.hide(*(pair.partition("=")[2].strip() for pair in value.split(",")))

    def text(self, text: str) -> str:
        """Return text without secrets; the very same object when there are none."""
        if self._secret_pattern is not None:
            text = self._secret_pattern.sub(MASK, text)
        folded = text.lower()
        if any(hint in folded for hint in _HINTS):
            for pattern, replacement in _SHAPES:
                text = pattern.sub(replacement, text)
            text = _PAIR.sub(rf"\1{MASK}", text)
        return text if self._field_pattern is None else self._field_pattern.sub(rf"\1{MASK}", text)

    def value(self, value: Any) -> Any:
        """Return a value as JSON data without secrets."""
        kind = type(value)
        if kind is str and len(value) <= _SHORT_CHARS:
            return self.text(text_of(value))
        return value if kind in _PLAIN else self._data(jsonable(value))

    def argument(self, value: Any) -> Any:
        """Return an argument of a log message; a container without the secrets in it, anything else as it is."""
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return value
        plain = jsonable(value)
        hidden = self._data(plain)
        return value if hidden == plain else hidden

    def is_secret(self, name: str) -> bool:
        """Whether what stands under this name is hidden."""
        return name in self._fields or _means_a_secret(name)

    def _data(self, data: Any) -> Any:
        """Redact JSON data; its depth is bounded already."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, dict):
            return {
                self.text(name): MASK if self.is_secret(name) and item is not None else self._data(item)
                for name, item in data.items()
            }
        if isinstance(data, list):
            return [self._data(item) for item in data]
        return data


redactor = Redactor()
"""The one of this process: logs, and whatever else leaves it."""
