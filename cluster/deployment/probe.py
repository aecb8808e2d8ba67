"""Whether this container is well: `python -m parquedb.cluster.deployment.probe`, the health check of the image.

Where a gateway listens, it is asked. Where nobody does, this is a node without one, and Ray's agent is asked instead. A
gateway that takes a connection and then says nothing is not well, whatever Ray thinks.
"""

import http.client
import sys
from dataclasses import dataclass
from typing import Final

TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask, on this machine."""

    port: int
    path: str


GATEWAY: Final = Place(8000, "/health")
NODE: Final = Place(52365, "/api/healthz")


def answers(place: Place, timeout_s: float = TIMEOUT_S) -> bool | None:
    """Return whether whoever listens there says that he is well; None where nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=timeout_s)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", place.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_well(gateway: Place = GATEWAY, node: Place = NODE) -> bool:
    """Return whether the gateway is, or without one the node."""
    found = answers(gateway)
    return bool(answers(node)) if found is None else found


if __name__ == "__main__":
    sys.exit(0 if is_well() else 1)
