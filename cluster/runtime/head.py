"""The address of a cluster's head, and whether somebody listens there; without Ray, which is slow to import."""

import re
import socket
from typing import Final

_ADDRESS: Final = re.compile(r"(?:ray://)?\[?(?P<host>[^\[\]/]+?)\]?:(?P<port>\d{1,5})")
_PORTS: Final = 1 << 16


def reach_head(address: str, timeout_s: float) -> bool:
    """See that somebody listens at an address with a port; return False for `auto` and the like, which Ray looks up.

    Ray itself would try for minutes, and then end the process.

    Raises:
        OSError: nobody does, within so many seconds.
        ValueError: there is no such port.
    """
    named = _ADDRESS.fullmatch(address)
    if named is None:
        return False
    port = int(named["port"])
    if not 0 < port < _PORTS:
        raise ValueError(f"there is no port {port}")
    socket.create_connection((named["host"], port), timeout_s).close()
    return True
