"""Checks of Ray: its version here, and the cluster, which a process of its own joins, since Ray may hang or end it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from parquedb.cluster.doctor.checks import Check, Patient, failed, ok, skipped, warning
from parquedb.cluster.runtime.head import reach_head

NAMES: Final = ("ray-version", "ray-token", "ray-cluster", "ray-memory")
JOIN_S: Final = 20.0
VERSION_MIN: Final = (2, 50)
GIB: Final = 1 << 30
_JOIN: Final = """
import json, sys
import ray
ray.init(address=sys.argv[1], namespace="parquedb-doctor", log_to_driver=False, configure_logging=False)
try:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    found = {"nodes": len(nodes), "total": ray.cluster_resources(), "free": ray.available_resources()}
    print("FOUND " + json.dumps(found), flush=True)
finally:
    ray.shutdown()
"""
_OURS: Final = re.compile(r"Ray: (\S+)")


def cluster(patient: Patient) -> Iterator[Check]:
    """Check Ray; the cluster is only looked at where an address names one."""
    if patient.settings is not None and patient.settings.is_gateway:
        yield from (skipped(name, "behind a gateway no Ray is needed") for name in NAMES)
        return
    version = importlib.metadata.version("ray")
    good = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= VERSION_MIN
    yield (ok if good else failed)("ray-version", f"Ray {version}")
    address = (patient.settings and patient.settings.ray_address) or patient.environ.get("RAY_ADDRESS")
    yield token(patient.environ, address)
    if not address:
        yield skipped("ray-cluster", "no address is set: a Ray is started here when one is needed")
        yield skipped("ray-memory", "there is no cluster to ask")
        return
    check, found = joined(address, patient.environ, patient.timeout_s)
    yield check
    yield skipped("ray-memory", "there is no cluster to ask") if found is None else resources(found)


def token(environ: Mapping[str, str], address: str | None) -> Check:
    """Judge whether this process can show a token where the cluster asks for one."""
    mode, remote = environ.get("RAY_AUTH_MODE", "").lower(), bool(address) and address != "auto"
    if mode == "disabled":
        if remote:
            return warning("ray-token", "RAY_AUTH_MODE is disabled: whoever reaches the port can run programs there")
        return skipped("ray-token", "RAY_AUTH_MODE is disabled, and no other machine is asked")
    found, where = _token_in(environ)
    if found:
        return ok("ray-token", where)
    if mode == "token":
        return failed("ray-token", f"RAY_AUTH_MODE is token, and {where}")
    if remote:
        return warning("ray-token", f"{where}: a cluster that asks for one does not let this process in")
    return skipped("ray-token", f"{where}; a Ray that is started here makes one")


def _token_in(environ: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether there is a token, and where, as Ray looks for it."""
    if environ.get("RAY_AUTH_TOKEN", "").strip():
        return True, "it is in RAY_AUTH_TOKEN"
    path = Path(environ.get("RAY_AUTH_TOKEN_PATH") or Path(environ.get("HOME", "~")).expanduser() / ".ray/auth_token")
    try:
        found = bool(path.read_text().strip())
    except (OSError, UnicodeDecodeError):
        return False, f"there is none in RAY_AUTH_TOKEN or {path}"
    return found, f"it is in {path}" if found else f"{path} is empty"


def joined(address: str, environ: Mapping[str, str], timeout_s: float) -> tuple[Check, dict[str, Any] | None]:
    """Join a cluster; return what became of it, and what the cluster said of itself."""
    try:
        reached = reach_head(address, timeout_s)
    except (OSError, ValueError) as error:
        return failed("ray-cluster", f"{address} cannot be reached: {error}"), None
    if not reached and address != "auto":
        return failed("ray-cluster", f"{address!r} is no address; expected host:port, ray://host:port or auto"), None
    try:
        done = subprocess.run(  # noqa: S603 - our own text; the address is an argument of it
            [sys.executable, "-c", _JOIN, address],
            env={**os.environ, **environ, "RAY_NUM_REDIS_GET_RETRIES": "2"},
            capture_output=True,
            text=True,
            timeout=JOIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return failed("ray-cluster", f"{address} could not be joined within {JOIN_S:.0f} s"), None
    said = next((line[6:] for line in done.stdout.splitlines() if line.startswith("FOUND ")), None)
    if said is None:
        return _refusal(address, done.stderr), None
    found: dict[str, Any] = json.loads(said)
    nodes = found["nodes"]
    return ok(
        "ray-cluster", f"{address} has {nodes} node{'s' * (nodes != 1)}, {found['total'].get('CPU', 0):g} CPUs"
    ), found


def _refusal(address: str, stderr: str) -> Check:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if "Version mismatch" in stderr:
        versions = _OURS.findall(stderr)
        return failed("ray-cluster", f"{address} runs another version of Ray or Python: {' and '.join(versions[:2])}")
    last = lines[-1] if lines else "it ended without a word"
    return failed("ray-cluster", f"{address} could not be joined: {last[:300]}")


def resources(found: Mapping[str, Any]) -> Check:
    """Judge what a cluster has left of memory and object store."""
    total, free = found["total"], found["free"]
    parts, short = [], False
    for name, label in (("memory", "memory"), ("object_store_memory", "object store")):
        most, left = total.get(name, 0), free.get(name, 0)
        parts.append(f"{label}: {left / GIB:.1f} of {most / GIB:.1f} GiB are free")
        short |= left < most * 0.1
    words = "; ".join(parts)
    return warning("ray-memory", words) if short else ok("ray-memory", words)
