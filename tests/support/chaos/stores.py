"""Where a slice stores: a real S3 server behind the fault proxy, or a directory on a small disk of its own."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.chaos.schedule import DISK, S3
from tests.support.fault_proxy import FaultProxy
from tests.support.places import on_s3
from tests.support.s3_servers import start_weed

DISK_BYTES = 192 << 20
UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--")
"""Before a command: it may mount file systems, which only it sees and which go when it ends; needs no privileges."""

ENGINE = {
    "read_lease_s": 0.1,
    "flush_rows": 800,
    "checkpoint_entries_max": 32,
    "log_grace_s": 20.0,
    "snapshot_grace_s": 20.0,
    "collect_interval_s": 2.0,
    "compaction_interval_s": 5.0,
}
STORAGE = {"timeout_s": 2.0, "breaker_failures": 3, "breaker_open_s": 0.5}
"""A slice lasts a minute: it shall meet flushes, merges and collections, and circuits that open and close again."""


def reason_without_disks() -> str:
    """Return why a small disk cannot be made here, or ""."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    mount = [*UNSHARE, "mount", "-t", "tmpfs", "-o", "size=64k", "chaos", "/mnt"]
    tried = subprocess.run(mount, check=False, capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else ""


class S3Store:
    """SeaweedFS, whose clients all go through the proxy."""

    kind = S3

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._server = start_weed(folder)
        self.proxy = FaultProxy(self._server.endpoint_url, seed=seed).start()
        self.settings: dict[str, Any] = on_s3(
            self._server, "chaos", endpoint_url=self.proxy.url, engine=ENGINE, storage=STORAGE
        )
        self.direct: dict[str, Any] = {**self.settings, "endpoint_url": self._server.endpoint_url}

    async def kill_server(self, down_s: float) -> None:
        """Kill the server and start it again on the same data."""
        self._server.process.kill()
        await asyncio.to_thread(self._server.process.wait)
        await asyncio.sleep(down_s)
        port = urlsplit(self._server.endpoint_url).port
        self._server = await asyncio.to_thread(start_weed, self._folder, port)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server's process while inside."""
        process = self._server.process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def close(self, *, keep: bool) -> None:
        """End the proxy and the server, whose data stay where they are."""
        self.proxy.stop()
        self._server.stop()


class DiskStore:
    """A directory on a tmpfs; only in a process below `UNSHARE`."""

    kind = DISK

    def __init__(self, folder: Path) -> None:
        self._disk = folder / "disk"
        self._disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "chaos", self._disk], check=True)
        self.settings: dict[str, Any] = {"url": str(self._disk / "db"), "engine": ENGINE, "storage": STORAGE}
        self.direct = self.settings

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no block free when entering; what is freed meanwhile can be used."""
        ballast = self._disk / "ballast"
        descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with contextlib.suppress(OSError):
                free = os.fstatvfs(descriptor)
                size = 0
                while True:
                    os.posix_fallocate(descriptor, size, free.f_bsize)
                    size += free.f_bsize
            yield
        finally:
            os.close(descriptor)
            ballast.unlink()

    def close(self, *, keep: bool) -> None:
        """Unmount it; what it holds is copied beside it first, where it is to be kept."""
        if keep:
            shutil.copytree(self._disk, self._disk.with_name("kept"))
        subprocess.run(["umount", "--lazy", self._disk], check=True)
