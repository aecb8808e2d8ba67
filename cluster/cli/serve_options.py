"""The command line of `parquedb serve`, apart from what it does: `--help` should not wait for Ray."""

import argparse


def describe_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command line."""
    serve = commands.add_parser(
        "serve",
        help="answer HTTP requests until Ctrl-C or SIGTERM",
        description="Serve a database over HTTP, on Ray Serve. Every setting of a gateway is a variable "
        "PARQUEDB_GATEWAY__<NAME>; with PARQUEDB_ENVIRONMENT=production nobody is let in who has not said who he is.",
    )
    serve.add_argument(
        "url", nargs="?", metavar="URL", help="a directory or s3://bucket/prefix (default: PARQUEDB_URL)"
    )
    serve.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 for any (default: 8000)")
    serve.add_argument("--replicas", type=int, metavar="N", help="processes that answer (default: 1)")
    serve.add_argument("--single", action="store_true", help="answer in this one process, without Ray Serve")
    serve.add_argument("--json", action="store_true", help="print one JSON object when it listens")
