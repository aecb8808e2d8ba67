"""What an owner may take: the sum of its limits."""

import os
import subprocess
import sys

from parquedb.cluster.deployment import sizing
from parquedb.settings import MIB, EngineSettings


def test_every_limit_of_memory_counts() -> None:
    before = sum(sizing.owner_bytes(EngineSettings()).values())
    for name, factor in {
        "cache_bytes_max": 1,
        "document_cache_bytes_max": 1,
        "calls_bytes_max": 1,
        "receipts_bytes_max": 1,
        "flush_bytes": 2,
        "compaction_bytes_max": sizing.MERGE_FACTOR,
        "query_memory_max": EngineSettings().queries_max,
    }.items():
        more = EngineSettings(**{name: getattr(EngineSettings(), name) + MIB})
        assert sum(sizing.owner_bytes(more).values()) == before + factor * MIB, name


def test_the_command_reads_the_environment() -> None:
    env = {**os.environ, "PARQUEDB_ENGINE__QUERIES_MAX": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "parquedb.cluster.deployment.sizing"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert printed == sizing.report(EngineSettings(queries_max=1)) + "\n"
    assert printed.splitlines()[-1].endswith("when all of them are reached at once")
