"""`python -m parquedb.cluster.cli` is the `parquedb` command, also in a checkout that is not installed."""

import sys

from parquedb.cluster.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
