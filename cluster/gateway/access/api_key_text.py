"""How an API key is written: `pq_<id>_<secret><checksum>`.

    pq_        so that people and secret scanners know it when they see it
    id         16 characters of 0-9 a-z: names the key in lists and logs; no secret
    secret     43 characters of 0-9 A-Z a-z: 256 bits
    checksum   6 such characters, the CRC-32 of all before: typing errors, and most guesses, cost no look-up

Source:
    The form of GitHub's tokens, https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Final

from parquedb.ids import random_token

ID_CHARS: Final = 16
SECRET_CHARS: Final = 43
_CHECKSUM_CHARS: Final = 6
_LETTERS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY: Final = re.compile(
    rf"(?P<checked>pq_(?P<id>[0-9a-z]{{{ID_CHARS}}})_[0-9A-Za-z]{{{SECRET_CHARS}}})(?P<sum>[0-9A-Za-z]{{{_CHECKSUM_CHARS}}})"
)


@dataclass(frozen=True)
class ApiKeyText:
    """A key in the clear; shows nothing of its secret.

    Attributes:
        id: Names the key.
        text: All of it, to be given to its holder and to nobody else.
    """

    id: str
    text: str = field(repr=False)

    def digest(self) -> str:
        """Return what is stored of it.

        One round of SHA-256: slow hashes make guessable passwords dearer to guess, and of 256 random bits none is ever
        guessed. A fast one costs each request a microsecond.
        """
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_key() -> ApiKeyText:
    """Make a key from the system's secure source."""
    id = random_token(ID_CHARS)  # noqa: A001 - its name
    checked = f"pq_{id}_" + "".join(secrets.choice(_LETTERS) for _ in range(SECRET_CHARS))
    return ApiKeyText(id, checked + _checksum(checked))


def read_key(text: str) -> ApiKeyText | None:
    """Return a key; None if no key of ours was ever written like this."""
    found = _KEY.fullmatch(text)
    if found is None or _checksum(found["checked"]) != found["sum"]:
        return None
    return ApiKeyText(found["id"], text)


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = []
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_LETTERS))
        digits.append(_LETTERS[digit])
    return "".join(reversed(digits))
