"""Checks of this machine and this Python: versions, memory, limits, and whether the clock runs evenly."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from parquedb.cluster.doctor.checks import Check, Patient, failed, ok, skipped, warning

PYTHON_MIN: Final = (3, 11)
GIB: Final = 1 << 30
MEMORY_LEAST: Final = GIB // 4
MEMORY_ENOUGH: Final = GIB
SHARED_SHARE: Final = 0.3
"""Ray's objects take this share of the memory, and lie in /dev/shm where it is large enough."""

FILES_LEAST: Final = 256
FILES_ENOUGH: Final = 4096
STEP_MAX_S: Final = 0.1
_WATCHED_S: Final = 0.25
_WORD_BITS: Final = 64
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([0-9][0-9A-Za-z.!]*))?")


def python(_: Patient) -> Iterator[Check]:
    """Check interpreter and packages."""
    version, bits = platform.python_version(), struct.calcsize("P") * 8
    found = f"{platform.python_implementation()} {version}, {bits} bits, {sys.executable}"
    good = sys.version_info >= PYTHON_MIN and bits == _WORD_BITS
    yield ok("python", found) if good else failed("python", found)
    yield packages(importlib.metadata.requires("parquedb") if _is_installed() else None)


def _is_installed() -> bool:
    try:
        importlib.metadata.version("parquedb")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def packages(requirements: list[str] | None) -> Check:
    """Hold the packages that are installed against what is required.

    Args:
        requirements: As the metadata of a distribution has them; None in a checkout that is not installed.
    """
    if requirements is None:
        return skipped("packages", "this is a checkout that is not installed: nobody says what it needs")
    wrong: list[str] = []
    missing_extras: set[str] = set()
    extras: set[str] = set()
    for line in requirements:
        match = _REQUIREMENT.match(line)
        if match is None:
            continue
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        name, least = match[1], match[2]
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing_extras.update([extra[1]] if extra else [])
            wrong += [] if extra else [f"{name} is missing"]
            continue
        extras.update([extra[1]] if extra else [])
        if extra is None and least is not None and _parts(found) < _parts(least):
            wrong.append(f"{name} {found} is older than {least}")
    if wrong:
        return failed("packages", "; ".join(wrong))
    whole = sorted(extras - missing_extras - {"dev"})
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("ray", "pyarrow", "s3fs")]
    return ok("packages", f"{', '.join(versions)}; extras: {', '.join(whole) or 'none'}")


def _parts(version: str) -> tuple[int, ...]:
    # Without epoch and suffixes: enough for lower bounds.
    return tuple(int(part) for part in re.findall(r"\d+", version.rpartition("!")[2])[:3])


def memory(_: Patient) -> Iterator[Check]:
    """Check how much memory is left, here and for Ray's objects."""
    total, available = memory_of(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))
    if total is None or available is None:
        yield skipped("memory", "this system does not say how much there is")
        yield skipped("shared-memory", "nobody says how much Ray would want")
        return
    yield judge_memory(total, available)
    yield judge_shared(total, _size_of(Path("/dev/shm")))  # noqa: S108 - looked at, not written to


def memory_of(meminfo: Path, cgroup: Path) -> tuple[int | None, int | None]:
    """Return the memory there is and what is left of it, in bytes, within the container's limit."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, left = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        return None, None
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return total, left  # No limit ("max"), or no container.
    return min(total, limit), max(0, min(left, limit - used))


def judge_memory(total: int, available: int) -> Check:
    """Judge what is left of the memory."""
    found = f"{available / GIB:.1f} of {total / GIB:.1f} GiB are left"
    if available < MEMORY_LEAST:
        return failed("memory", found)
    return ok("memory", found) if available >= MEMORY_ENOUGH else warning("memory", found)


def judge_shared(total: int, shared: int | None) -> Check:
    """Judge the size of /dev/shm against the memory there is."""
    if shared is None:
        return skipped("shared-memory", "there is no /dev/shm; Ray uses files")
    found = f"it has {shared / GIB:.1f} GiB, Ray's objects want {total * SHARED_SHARE / GIB:.1f}"
    return ok("shared-memory", found) if shared >= total * SHARED_SHARE * 0.95 else warning("shared-memory", found)


def _size_of(folder: Path) -> int | None:
    import shutil  # noqa: PLC0415 - for this alone

    try:
        return shutil.disk_usage(folder).total
    except OSError:
        return None


def limits(_: Patient) -> Iterator[Check]:
    """Check how many files this process may open."""
    yield judge_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def judge_files(most: int) -> Check:
    """Judge a limit of open files; -1 is none."""
    found = "no limit" if most < 0 else f"{most} files at a time"
    if 0 <= most < FILES_LEAST:
        return failed("open-files", found)
    return warning("open-files", found) if 0 <= most < FILES_ENOUGH else ok("open-files", found)


def clock_steps(patient: Patient) -> Iterator[Check]:
    """Check that the wall clock goes as fast as the clock that never steps."""
    clock = patient.clock
    wall, boot_s = clock.now(), clock.boot_s()
    time.sleep(_WATCHED_S)
    passed_s, boot_passed_s = (clock.now() - wall).total_seconds(), clock.boot_s() - boot_s
    found = f"in {boot_passed_s:.3f} s the time of day went on by {passed_s:.3f} s"
    if boot_passed_s <= 0:
        yield failed("clock-steps", f"the clock that never steps went on by {boot_passed_s:.3f} s")
    elif abs(passed_s - boot_passed_s) > STEP_MAX_S:
        yield warning("clock-steps", found)
    else:
        yield ok("clock-steps", found)
