"""The alert rules as Kubernetes takes them.

python -m parquedb.cluster.deployment.rules > cluster/deployment/kubernetes/common/alerts.yaml
"""

import sys
import textwrap
from importlib.resources import files
from typing import Final

_HEAD: Final = """\
# Made of observability/prometheus/alerts.yml by `python -m parquedb.cluster.deployment.rules`; a test compares.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: parquedb
spec:
"""


def prometheus_rule() -> str:
    """Return the rules that come with the package as an object of the Prometheus operator, YAML."""
    rules = (files("parquedb.observability.prometheus") / "alerts.yml").read_text(encoding="utf-8")
    return _HEAD + textwrap.indent(rules, "  ")


if __name__ == "__main__":
    sys.stdout.write(prometheus_rule())
