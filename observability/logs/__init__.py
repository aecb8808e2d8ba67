"""The `parquedb` tree of the standard `logging` module."""

from parquedb.observability.logs.context import log_context
from parquedb.observability.logs.logger import ROOT_NAME, get_logger, set_logger

__all__ = ["ROOT_NAME", "get_logger", "log_context", "set_logger"]
