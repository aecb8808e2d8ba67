"""How much memory an owner may take, to size nodes by: `python -m parquedb.cluster.deployment.sizing`.

An owner that is called now and then stays near what its process takes by itself. The sum is what it comes to when all
its limits are reached at once: so it says how many busy owners a node has room for, not how many it can have.
"""

import sys
from typing import Final

from parquedb.settings import MIB, EngineSettings
from parquedb.settings.environment import load_settings

PROCESS_BYTES: Final = 200 * MIB
"""What the process takes by itself: Python, Arrow and Ray, of which a third is shared with others on the node."""

MERGE_FACTOR: Final = 4
"""Bytes in memory for each byte of the files that are merged at once; more where documents compress well."""


def owner_bytes(engine: EngineSettings) -> dict[str, int]:
    """Return what an owner with these settings may take in bytes, by what for."""
    return {
        "the process": PROCESS_BYTES,
        "stored files (cache_bytes_max)": engine.cache_bytes_max,
        "documents (document_cache_bytes_max)": engine.document_cache_bytes_max,
        "calls (calls_bytes_max)": engine.calls_bytes_max,
        "answers for repeats (receipts_bytes_max)": engine.receipts_bytes_max,
        "changes to be flushed, and their file (2 x flush_bytes)": 2 * engine.flush_bytes,
        "queries (queries_max x query_memory_max)": engine.queries_max * engine.query_memory_max,
        f"a merge ({MERGE_FACTOR} x compaction_bytes_max)": MERGE_FACTOR * engine.compaction_bytes_max,
    }


def report(engine: EngineSettings) -> str:
    """Return the parts and their sum as lines of text."""
    parts = owner_bytes(engine)
    lines = [f"{size / MIB:8.0f} MiB  {what}" for what, size in parts.items()]
    return "\n".join([*lines, f"{sum(parts.values()) / MIB:8.0f} MiB  at most, when all of them are reached at once"])


if __name__ == "__main__":
    # The environment's settings; which database it is for does not matter.
    sys.stdout.write(report(load_settings("memory://sizing").engine) + "\n")
