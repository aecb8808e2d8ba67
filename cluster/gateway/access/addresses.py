"""Where a request comes from, as far as that can be believed."""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_WITH_PORT: Final = re.compile(r"\[(?P<v6>[^\]]*)\](?::\d+)?|(?P<v4>[^:]*):\d+")
_IPV6_NETWORK_BITS: Final = 64
"""Bits of an IPv6 address that tell one customer from another; the others are theirs to choose."""


def caller_address(peer: str | None, headers: Iterable[tuple[bytes, bytes]], proxies: int) -> str:
    """Return the address of a caller, an IPv6 one by its network.

    Args:
        peer: Who opened the connection.
        headers: As ASGI gives them.
        proxies: How many proxies of ours are in front. Each adds to `X-Forwarded-For` whom it was called by: so many
            entries at the end are facts, and what stands before them anybody may have written.
    """
    address = peer or ""
    if proxies:
        told = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        entries = [entry.strip() for entry in ",".join(told).split(",") if entry.strip()]
        if len(entries) >= proxies:
            address = _without_port(entries[-proxies])
    return _network(address)


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:  # noqa: PLR2004 - the name of a protocol
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))


def _without_port(entry: str) -> str:
    found = _WITH_PORT.fullmatch(entry)
    return entry if found is None else (found["v6"] or found["v4"] or "")
