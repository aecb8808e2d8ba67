"""A collector that is gone costs spans: no time, no memory beyond the queue, and at the end no more than its bound."""

import json
import os
import subprocess
import sys
import time

import pytest

from parquedb.observability.otel.exporters import SHUTDOWN_S
from parquedb.observability.otel.span_queue import QueueLimits
from tests.support.lost_collectors import LOST

IMPORTS = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()]))
OTEL_FREE = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
OPERATIONS = 20_000

PROGRAM = f"""
import json, time
from parquedb.observability.contexts import MutationResult, create_mutation_context
from parquedb.observability.hooks import HookRegistry
from parquedb.observability.otel.export import configure_tracing

telemetry = configure_tracing()
registry = HookRegistry()
registry.register_hook(telemetry.hook)
cpu_s, waiting = time.thread_time(), 0
for number in range({OPERATIONS}):
    registry.start("mutation", create_mutation_context("create", "posts")).end(MutationResult(version=1))
    waiting = max(waiting, len(telemetry.provider.queue._spans))
queue = telemetry.provider.queue
print(json.dumps({{
    "cpu_s": time.thread_time() - cpu_s,
    "waiting": waiting,
    "gone": queue.dropped + queue.lost,
    "ended_at": time.time(),
}}), flush=True)
"""

CASES = [(protocol, how) for protocol in ("http/protobuf", "grpc") for how in LOST]


@pytest.mark.parametrize(("protocol", "how"), CASES)
def test_a_flood_of_spans_waits_for_nobody_and_the_process_ends_in_time(protocol: str, how: str) -> None:
    with LOST[how]() as endpoint:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "PYTHONPATH": IMPORTS,
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], check=True, env=OTEL_FREE | environ, timeout=60, capture_output=True
        )
        ended_at = time.time()
    told = json.loads(done.stdout)
    assert told["waiting"] <= QueueLimits().spans_max
    assert told["gone"] > OPERATIONS - 3 * QueueLimits().spans_max
    # Processor time of the thread that makes them: what another thread does, or how busy the machine is, is not in it.
    assert told["cpu_s"] / OPERATIONS < 200e-6
    # A second for the interpreter itself.
    assert ended_at - told["ended_at"] < SHUTDOWN_S + 1.0
