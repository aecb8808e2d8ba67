"""Prometheus: what it scrapes, the alerts on it, and a Grafana dashboard of it.

start_metrics_server(db, 9464)                          serves http://127.0.0.1:9464/metrics
python -m parquedb.observability.prometheus alerts      prints the rules, for `rule_files`
python -m parquedb.observability.prometheus dashboard   prints the dashboard, to be imported into Grafana
"""

from parquedb.observability.prometheus.exposition import content_type, render
from parquedb.observability.prometheus.server import MetricsApplication, MetricsServer, start_metrics_server
from parquedb.observability.prometheus.totals import RunningTotals

__all__ = [
    "MetricsApplication",
    "MetricsServer",
    "RunningTotals",
    "content_type",
    "render",
    "start_metrics_server",
]
