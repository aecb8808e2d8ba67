"""An owner on a local directory whose disk fails, fills up, stalls or loses power at any step of a create (rule 28).

Counter-example 12 of the protocol is why a create is a link and not an exclusive open: `docs/protocol.md`, rule 28.
"""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from parquedb.errors import OutcomeUnknownError, QuotaExceededError, StorageWriteError
from parquedb.storage.backends.directory import System
from parquedb.storage.backends.local import LocalBackend
from tests.support.stage import Stage

STEPS = ("open", "write", "sync file", "link", "linked", "sync folder", "unlink")
"""What a create does, in order; `linked` is the moment right after the link."""


class Disk(System):
    """The system's calls of one process: they may fail or stall at a step of the creates of log entries.

    Attributes:
        failing: Number of the error by step.
    """

    unsynced: set[Path]
    """Names on the whole disk that a power cut would take away."""

    def __init__(self, unsynced: set[Path]) -> None:
        self.failing: dict[str, int] = {}
        self.unsynced = unsynced
        self._stalls_at = ""
        self._stalled, self._go_on = threading.Event(), threading.Event()

    def stall(self, step: str) -> None:
        """Let whoever comes to this step wait until `go_on`."""
        self._stalls_at = step

    async def stalled(self) -> None:
        """Return once somebody waits there."""
        assert await asyncio.to_thread(self._stalled.wait, 20)

    def go_on(self) -> None:
        """Stall no more."""
        self._stalls_at = ""
        self._go_on.set()

    def _step(self, name: str) -> None:
        if name == self._stalls_at:
            self._stalled.set()
            assert self._go_on.wait(20)
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))

    def open(self, *arguments: Any, **named: Any) -> int:  # type: ignore[override]
        self._step("open")
        return os.open(*arguments, **named)

    def write(self, descriptor: int, data: bytes) -> None:
        half = len(data) // 2
        super().write(descriptor, data[:half])
        self._step("write")
        super().write(descriptor, data[half:])

    def sync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_file():
            self._step("sync file")
        elif path.name == "log":
            self._step("sync folder")
        super().sync(descriptor)
        self.unsynced -= {name for name in self.unsynced if name.parent == path}

    def link(self, temp: str, name: str, *, dst_dir_fd: int, **named: Any) -> None:  # type: ignore[override]
        self._step("link")
        os.link(temp, name, dst_dir_fd=dst_dir_fd, **named)
        self.unsynced.add(Path(os.readlink(f"/proc/self/fd/{dst_dir_fd}")) / name)
        self._step("linked")

    def unlink(self, *arguments: Any, **named: Any) -> None:  # type: ignore[override]
        self._step("unlink")
        os.unlink(*arguments, **named)


class DiskStage(Stage):
    """A stage on one directory; each process there has system calls of its own.

    Attributes:
        disks: Those of each handle, in the order in which they were opened.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disks: list[Disk] = []
        self._unsynced: set[Path] = set()
        super().__init__(self._open)

    def _open(self) -> LocalBackend:
        self.disks.append(Disk(self._unsynced))
        return LocalBackend(self.root, threads_max=4, system=self.disks[-1])

    @property
    def disk(self) -> Disk:
        """Return the system calls of whoever came last."""
        return self.disks[-1]

    def cut_power(self) -> None:
        """Lose every name whose folder was not synced since it was given."""
        for path in self._unsynced:
            path.unlink(missing_ok=True)
        self._unsynced.clear()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[DiskStage]:
    made = DiskStage(tmp_path / "db")
    try:
        yield made
        await made.last_look()
    finally:
        for disk in made.disks:
            disk.go_on()
        await made.close()


@pytest.mark.parametrize("step", STEPS)
async def test_an_owner_that_ends_at_any_step_of_a_create_leaves_all_or_nothing(stage: DiskStage, step: str) -> None:
    """Killed there, or only paused: in the end its thread goes on, and finds its successor's `open` at its place."""
    a = await stage.owner("A")
    disk = stage.disk
    await a.creates("before")
    disk.stall(step)
    x = a.creating("x")
    await disk.stalled()
    a.dies()
    assert isinstance((await x).error, OutcomeUnknownError)
    b = await stage.owner("B")
    linked = STEPS.index(step) > STEPS.index("link")
    assert ((await b.says("get", "x")).value is not None) == linked
    await b.creates("after")
    before = await stage.chain()
    disk.go_on()
    await a.wire.close()  # Its threads have ended.
    assert await stage.chain() == before
    assert (await b.says("count")).value == 2 + linked


@pytest.mark.parametrize(
    ("step", "number", "refusal"),
    [
        ("open", errno.ENOSPC, QuotaExceededError),
        ("write", errno.ENOSPC, QuotaExceededError),
        ("write", errno.EIO, StorageWriteError),
        ("sync file", errno.EIO, StorageWriteError),
        ("sync file", errno.ENOSPC, QuotaExceededError),
    ],
)
async def test_a_disk_that_fails_before_the_link_refuses_for_certain_and_the_owner_goes_on(
    stage: DiskStage, step: str, number: int, refusal: type[Exception]
) -> None:
    a = await stage.owner("A")
    stage.disk.failing = {step: number}
    assert isinstance((await a.creates("x")).error, refusal)
    stage.disk.failing = {}
    assert (await a.creates("y")).seq == 1
    assert (await a.says("get", "x")).value is None
    assert await stage.kinds() == ["open", "write"]
    assert list((stage.root / "~tmp").iterdir()) == []


@pytest.mark.parametrize("power", ["stays", "is cut"])
async def test_a_folder_that_could_not_be_synced_ends_its_owner_and_the_next_one_finds_out(
    stage: DiskStage, power: str
) -> None:
    """A second fsync would call durable what the first one lost: nobody may be told yes, or no."""
    a = await stage.owner("A")
    stage.disk.failing = {"sync folder": errno.EIO}
    assert isinstance((await a.creates("x", request="order-1")).error, OutcomeUnknownError)
    stage.disk.failing = {}
    assert (await a.creates("y")).error is not None
    assert a.state != "open"
    if power == "is cut":
        stage.cut_power()
    b = await stage.owner("B")
    assert ((await b.says("get", "x")).value is None) == (power == "is cut")
    assert (await b.creates("x", request="order-1", age_s=1.0)).duplicate == (power == "stays")
    assert (await b.says("get", "y")).value is None


async def test_a_link_that_was_made_and_reported_as_taken_is_a_yes(stage: DiskStage) -> None:
    """A network file system repeats a request whose answer it lost, and meets its own link."""
    a = await stage.owner("A")
    stage.disk.failing = {"linked": errno.EEXIST}
    assert ((await a.creates("x")).error, a.state) == (None, "open")
    stage.disk.failing = {}
    assert (await a.creates("y")).seq == 2


async def test_a_power_cut_between_link_and_sync_takes_only_what_nobody_was_told(stage: DiskStage) -> None:
    a = await stage.owner("A")
    disk = stage.disk
    await a.creates("x")
    disk.stall("sync folder")
    y = a.creating("y", timeout_s=0.05)
    await disk.stalled()
    assert isinstance((await y).error, OutcomeUnknownError)
    a.dies()
    stage.cut_power()
    b = await stage.owner("B")
    assert (await b.says("get", "x")).value is not None
    assert (await b.says("get", "y")).value is None
    assert (await b.creates("z")).seq == 2


async def test_what_somebody_saw_outlives_a_power_cut(stage: DiskStage) -> None:
    """A killed writer may not have come to its own sync; who builds on its entry makes sure first."""
    a = await stage.owner("A")
    disk = stage.disk
    disk.stall("linked")
    a.creating("x")
    await disk.stalled()
    a.dies()
    seen = await stage.chain()
    assert seen.tail == 2
    stage.cut_power()
    assert await stage.chain() == seen
    b = await stage.owner("B")
    assert (await b.says("get", "x")).value is not None


async def test_files_that_killed_writers_left_are_no_objects(stage: DiskStage) -> None:
    a = await stage.owner("A")
    for name in ("1-torn", "2-whole"):
        (stage.root / "~tmp" / name).write_bytes(b"left behind")
    await a.creates("x")
    b = await stage.owner("B")
    assert await stage.kinds() == ["open", "write", "open"]
    assert await b.engine.collect() == 0
    assert sorted(path.name for path in (stage.root / "~tmp").iterdir()) == ["1-torn", "2-whole"]
