"""Telling an object of a later format from a damaged one.

Every object of ours begins with a magic of three letters and the digit of its format. Log entries and manifests end
with the XXH3-128 of all before it, in this and every later format: so a version that does not know the digit still
knows that the object is whole. Segments are checked by whoever names them.
"""

from typing import Final

import xxhash

from parquedb.errors import NewerFormatError

CHECKSUM_BYTES: Final = 16


def is_whole(data: bytes) -> bool:
    """Whether an object ends with the checksum of all before it."""
    content = memoryview(data)[:-CHECKSUM_BYTES]
    return len(data) > CHECKSUM_BYTES and xxhash.xxh3_128_digest(content) == data[-CHECKSUM_BYTES:]


def refuse_newer(key: str, data: bytes, magic: bytes) -> None:
    """Return if a whole object is not of a later format than the one with this magic.

    Raises:
        NewerFormatError: it is; names `key`.
    """
    found = bytes(data[: len(magic)])
    family, digit = found[:-1], found[-1:]
    if family == magic[:-1] and digit.isdigit() and digit > magic[-1:]:
        raise NewerFormatError(key=key, reason=f"format {digit.decode()}, known up to {magic[-1:].decode()}")
