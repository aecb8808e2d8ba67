"""Which version of this library telemetry comes from."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("parquedb")
    except PackageNotFoundError:  # A checkout that nobody has installed.
        return "0"


VERSION = _installed()
