"""What is checked, what each check may come to, and how to mend it in one line, which `docs/doctor.md` repeats."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from parquedb.clock import Clock, SystemClock
from parquedb.settings import Settings


class Status(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well, or not for long."""

    FAILED = "failed"
    """It does not work."""

    SKIPPED = "skipped"
    """There was nothing to look at, or no use in looking."""


REMEDIES: Final[Mapping[str, str]] = {
    "settings": "correct or unset the variable that is named",
    "python": "use CPython 3.11 or newer, 64 bits",
    "packages": "run `pip install --upgrade parquedb` here; add extras as parquedb[serve,duckdb,polars]",
    "memory": "give the machine or container more memory, or lower engine.cache_bytes_max",
    "shared-memory": "give /dev/shm 30 % of the memory: docker --shm-size, Kubernetes an emptyDir of medium Memory",
    "open-files": "raise the limit: `ulimit -n 65536`, or LimitNOFILE= of the systemd unit",
    "clock-steps": "let one service set the clock (chrony), by slewing; look for VM snapshots that were resumed",
    "ray-version": "install the Ray of the cluster here: `pip install 'ray==<version of the cluster>'`",
    "ray-cluster": "start it (`ray start --head`), open its port, or unset PARQUEDB_RAY_ADDRESS for one of your own",
    "ray-token": "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token; without tokens, close its port",
    "ray-memory": "start the nodes with more memory or --object-store-memory, or free what other jobs hold",
    "store-open": "make the directory or bucket, and let this user reach it; see PARQUEDB_KEY, _SECRET, _ENDPOINT_URL",
    "store-list": "allow listing: s3:ListBucket on the bucket, or read and search permission on the directory",
    "store-create": "allow writing: s3:PutObject below the prefix, or write permission on the directory",
    "store-read": "allow reading: s3:GetObject below the prefix, or read permission on the files",
    "store-conditions": "use a store that honours If-None-Match on PUT; a proxy in front of it may drop the header",
    "store-listing": "use a store whose listings show what was just written, in order; turn off caches in front of it",
    "store-checksum": "use a store that checks Content-MD5; a proxy in front of it may drop the header",
    "store-delete": "allow deleting: s3:DeleteObject below the prefix, or write permission on the directory",
    "clock-store": "synchronise this machine's clock (chrony, systemd-timesyncd): stores refuse what is too far off",
    "disk-space": "free space, or move the database; full disks refuse writes and lose nothing",
    "collector": "start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL",
    "gateway": "start it (`parquedb serve`), correct the URL, or look at what its /ready says",
}
"""How to mend it, by check; in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one check came to.

    Attributes:
        name: One of `REMEDIES`.
        status: See there.
        found: What was found, in words.
        remedy: How to mend it; empty where nothing is to be mended.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""

    @classmethod
    def of(cls, name: str, status: Status, found: str) -> Check:
        """Make one with its remedy."""
        mend = status in {Status.WARNING, Status.FAILED}
        return cls(name, status, found, REMEDIES[name] if mend else "")


def ok(name: str, found: str) -> Check:
    """Say that it is as it should be."""
    return Check.of(name, Status.OK, found)


def warning(name: str, found: str) -> Check:
    """Say that it works, but not well."""
    return Check.of(name, Status.WARNING, found)


def failed(name: str, found: str) -> Check:
    """Say that it does not work."""
    return Check.of(name, Status.FAILED, found)


def skipped(name: str, found: str) -> Check:
    """Say why nothing was looked at."""
    return Check.of(name, Status.SKIPPED, found)


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at.

    Attributes:
        settings: Of the database; None where they could not be read.
        environ: The environment's variables.
        clock: Of this machine.
        timeout_s: Seconds for each single check.
        has_url: Whether a database was named at all.
    """

    settings: Settings | None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = field(default_factory=SystemClock)
    timeout_s: float = 5.0
    has_url: bool = True


@dataclass(frozen=True, slots=True)
class Examination:
    """Some checks that are made one after the other, in a thread of their own.

    Attributes:
        names: Of the checks, in the order in which `run` yields them.
        run: Makes them. It may hang: whoever runs it goes on without it.
        timeout_s: Seconds for each of them.
    """

    names: tuple[str, ...]
    run: Callable[[Patient], Iterator[Check]]
    timeout_s: float
