"""What Prometheus scrapes of a cluster: `python -m parquedb.cluster.deployment.exporter`, beside the head.

One process for the whole database, and one only: it keeps the counts of owners that have come and gone, and two of them
would show each owner twice. The environment says which database (`PARQUEDB_URL`) and which cluster
(`PARQUEDB_RAY_ADDRESS`).
"""

import signal
import sys
import threading
from types import FrameType
from typing import Final

from parquedb.cluster.client.connect import connect
from parquedb.observability.logs.configuration import configure_logging
from parquedb.observability.prometheus import start_metrics_server

HOST: Final = "0.0.0.0"  # noqa: S104 - the pod's; a network policy lets Prometheus alone in
PORT: Final = 9464


def main(port: int = PORT) -> int:
    """Serve metrics until SIGTERM or Ctrl-C; return the exit code.

    Args:
        port: To listen on; 0 for any.

    Raises:
        ConfigurationError: a variable cannot be used.
        RpcUnavailableError: the cluster cannot be reached. Whoever runs this starts it again.
    """
    told = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    configure_logging()
    with connect() as database, start_metrics_server(database, port, host=HOST) as server:
        # Ray has put handlers of its own there, which end a process at once.
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, handle)
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        told.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
