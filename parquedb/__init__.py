"""ParqueDB: a document database that lives in your bucket, served by Ray actors.

    import parquedb
    db = parquedb.connect("./data")
    db.create("posts", {"title": "Hello"})

The names here are the public ones. They are resolved on first use: importing the package imports neither Ray nor Arrow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parquedb import errors as errors
    from parquedb.cluster.backup.methods import backup_points as backup_points
    from parquedb.cluster.backup.methods import restore as restore
    from parquedb.cluster.backup.methods import restore_async as restore_async
    from parquedb.cluster.backup.methods import verify_backup as verify_backup
    from parquedb.cluster.backup.reports import BackupPoint as BackupPoint
    from parquedb.cluster.backup.reports import BackupReport as BackupReport
    from parquedb.cluster.backup.reports import RestoreReport as RestoreReport
    from parquedb.cluster.client.async_collection import AsyncCollection as AsyncCollection
    from parquedb.cluster.client.async_database import AsyncDatabase as AsyncDatabase
    from parquedb.cluster.client.collection import Collection as Collection
    from parquedb.cluster.client.connect import connect as connect
    from parquedb.cluster.client.connect import connect_async as connect_async
    from parquedb.cluster.client.database import Database as Database
    from parquedb.cluster.client.explanation import Explanation as Explanation
    from parquedb.cluster.client.history_results import Change as Change
    from parquedb.cluster.client.many_writes import UpdateResult as UpdateResult
    from parquedb.cluster.client.pages import AsyncPage as AsyncPage
    from parquedb.cluster.client.pages import Page as Page
    from parquedb.cluster.doctor.doctor import DoctorReport as DoctorReport
    from parquedb.cluster.doctor.doctor import doctor as doctor
    from parquedb.cluster.exchange.results import ExportResult as ExportResult
    from parquedb.cluster.exchange.results import ImportResult as ImportResult
    from parquedb.cluster.exchange.results import RowError as RowError
    from parquedb.cluster.overview.health import DatabaseHealth as DatabaseHealth
    from parquedb.cluster.snapshots.snapshot import Snapshot as Snapshot
    from parquedb.errors import ParqueDBError as ParqueDBError
    from parquedb.observability.ai.capture import capture_ai_requests as capture_ai_requests
    from parquedb.observability.ai.requests import AIRequestsView as AIRequestsView
    from parquedb.observability.ai.requests import record_ai_request as record_ai_request
    from parquedb.observability.ai.usage_view import AIUsageView as AIUsageView
    from parquedb.observability.ai.usage_view import create_ai_usage_view as create_ai_usage_view
    from parquedb.observability.callbacks import HookStats as HookStats
    from parquedb.observability.contexts import create_mutation_context as create_mutation_context
    from parquedb.observability.contexts import create_query_context as create_query_context
    from parquedb.observability.contexts import create_storage_context as create_storage_context
    from parquedb.observability.hooks import HookRegistry as HookRegistry
    from parquedb.observability.hooks import global_hook_registry as global_hook_registry
    from parquedb.observability.hooks import register_hook as register_hook
    from parquedb.observability.logs import log_context as log_context
    from parquedb.observability.logs import set_logger as set_logger
    from parquedb.observability.logs.configuration import configure_logging as configure_logging
    from parquedb.observability.metrics.collector import MetricsCollector as MetricsCollector
    from parquedb.observability.metrics.snapshot import MetricsSnapshot as MetricsSnapshot
    from parquedb.observability.worker_logs.view import WorkerLogsView as WorkerLogsView
    from parquedb.observability.worker_logs.view import create_worker_logs_view as create_worker_logs_view
    from parquedb.settings import Settings as Settings
    from parquedb.settings.environment import load_settings as load_settings
    from parquedb.storage.breaker.circuit import CircuitBreaker as CircuitBreaker
    from parquedb.storage.breaker.monitor import CircuitBreakerMonitor as CircuitBreakerMonitor
    from parquedb.storage.breaker.monitor import global_circuit_breaker_monitor as global_circuit_breaker_monitor
    from parquedb.storage.verification.report import DatabaseReport as DatabaseReport
    from parquedb.storage.verification.report import VerificationReport as VerificationReport
    from parquedb.storage.worker_logs import open_worker_logs as open_worker_logs

_HOMES = {
    "AIRequestsView": "parquedb.observability.ai.requests",
    "AIUsageView": "parquedb.observability.ai.usage_view",
    "AsyncCollection": "parquedb.cluster.client.async_collection",
    "AsyncDatabase": "parquedb.cluster.client.async_database",
    "AsyncPage": "parquedb.cluster.client.pages",
    "BackupPoint": "parquedb.cluster.backup.reports",
    "BackupReport": "parquedb.cluster.backup.reports",
    "Change": "parquedb.cluster.client.history_results",
    "CircuitBreaker": "parquedb.storage.breaker.circuit",
    "CircuitBreakerMonitor": "parquedb.storage.breaker.monitor",
    "Collection": "parquedb.cluster.client.collection",
    "Database": "parquedb.cluster.client.database",
    "DatabaseHealth": "parquedb.cluster.overview.health",
    "DatabaseReport": "parquedb.storage.verification.report",
    "DoctorReport": "parquedb.cluster.doctor.doctor",
    "Explanation": "parquedb.cluster.client.explanation",
    "ExportResult": "parquedb.cluster.exchange.results",
    "HookRegistry": "parquedb.observability.hooks",
    "HookStats": "parquedb.observability.callbacks",
    "ImportResult": "parquedb.cluster.exchange.results",
    "MetricsCollector": "parquedb.observability.metrics.collector",
    "MetricsSnapshot": "parquedb.observability.metrics.snapshot",
    "Page": "parquedb.cluster.client.pages",
    "ParqueDBError": "parquedb.errors",
    "RowError": "parquedb.cluster.exchange.results",
    "RestoreReport": "parquedb.cluster.backup.reports",
    "Settings": "parquedb.settings",
    "Snapshot": "parquedb.cluster.snapshots.snapshot",
    "UpdateResult": "parquedb.cluster.client.many_writes",
    "VerificationReport": "parquedb.storage.verification.report",
    "backup_points": "parquedb.cluster.backup.methods",
    "capture_ai_requests": "parquedb.observability.ai.capture",
    "configure_logging": "parquedb.observability.logs.configuration",
    "connect": "parquedb.cluster.client.connect",
    "connect_async": "parquedb.cluster.client.connect",
    "create_mutation_context": "parquedb.observability.contexts",
    "create_query_context": "parquedb.observability.contexts",
    "create_storage_context": "parquedb.observability.contexts",
    "create_ai_usage_view": "parquedb.observability.ai.usage_view",
    "doctor": "parquedb.cluster.doctor.doctor",
    "global_circuit_breaker_monitor": "parquedb.storage.breaker.monitor",
    "global_hook_registry": "parquedb.observability.hooks",
    "load_settings": "parquedb.settings.environment",
    "record_ai_request": "parquedb.observability.ai.requests",
    "log_context": "parquedb.observability.logs",
    "WorkerLogsView": "parquedb.observability.worker_logs.view",
    "create_worker_logs_view": "parquedb.observability.worker_logs.view",
    "open_worker_logs": "parquedb.storage.worker_logs",
    "register_hook": "parquedb.observability.hooks",
    "restore": "parquedb.cluster.backup.methods",
    "restore_async": "parquedb.cluster.backup.methods",
    "set_logger": "parquedb.observability.logs",
    "verify_backup": "parquedb.cluster.backup.methods",
}

__all__ = [
    "AIRequestsView",
    "AIUsageView",
    "AsyncCollection",
    "AsyncDatabase",
    "AsyncPage",
    "BackupPoint",
    "BackupReport",
    "Change",
    "CircuitBreaker",
    "CircuitBreakerMonitor",
    "Collection",
    "Database",
    "DatabaseHealth",
    "DoctorReport",
    "Explanation",
    "ExportResult",
    "HookRegistry",
    "HookStats",
    "ImportResult",
    "MetricsCollector",
    "MetricsSnapshot",
    "Page",
    "ParqueDBError",
    "RestoreReport",
    "RowError",
    "Settings",
    "Snapshot",
    "UpdateResult",
    "WorkerLogsView",
    "__version__",
    "backup_points",
    "capture_ai_requests",
    "configure_logging",
    "connect",
    "connect_async",
    "create_ai_usage_view",
    "create_mutation_context",
    "create_query_context",
    "create_storage_context",
    "create_worker_logs_view",
    "doctor",
    "errors",
    "global_circuit_breaker_monitor",
    "global_hook_registry",
    "load_settings",
    "log_context",
    "open_worker_logs",
    "record_ai_request",
    "register_hook",
    "restore",
    "restore_async",
    "set_logger",
    "verify_backup",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("parquedb.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'parquedb' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
