"""The local directory under crashes, a failing or vanishing disk, planted links and rival processes."""

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from parquedb.errors import (
    AlreadyExistsError,
    ConfigurationError,
    ErrorCode,
    ETagMismatchError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    ParqueDBError,
    PathTraversalError,
    QuotaExceededError,
    StorageReadError,
    StorageWriteError,
    TimeoutError,  # noqa: A004 - the public name
)
from parquedb.storage.backend import Range
from parquedb.storage.backends.directory import System
from parquedb.storage.backends.local import LocalBackend

# Children import the package from where this process does: a checkout or an installed wheel.
CHILD_ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@asynccontextmanager
async def opened(root: Path, system: System | None = None, **settings: Any) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(root, system=system, **settings)
    try:
        yield backend
    finally:
        await backend.close()


class Steps(System):
    """Records the steps and may fail or wait at one: `fail("link", errno.EIO)` acts on the next link."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failing: dict[str, int] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.waiting, self.linked = threading.Event(), threading.Event()

    def _step(self, name: str) -> None:
        self.done.append(name)
        if name in self.failing:
            number = self.failing[name]
            raise OSError(number, os.strerror(number))

    def open(self, *arguments: Any, **named: Any) -> int:  # type: ignore[override]
        self._step("open")
        return os.open(*arguments, **named)

    def write(self, descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[: len(data) // 2])
        self._step("write")
        os.write(descriptor, data[len(data) // 2 :])

    def sync(self, descriptor: int) -> None:
        self.waiting.set()
        assert self.gate.wait(20)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self._step("sync file" if path.is_file() else f"sync {path.name}")
        super().sync(descriptor)

    def link(self, *arguments: Any, **named: Any) -> None:  # type: ignore[override]
        self._step("link")
        os.link(*arguments, **named)
        self.linked.set()

    def replace(self, *arguments: Any, **named: Any) -> None:  # type: ignore[override]
        self._step("replace")
        self.waiting.set()
        assert self.gate.wait(20)
        os.replace(*arguments, **named)

    def unlink(self, *arguments: Any, **named: Any) -> None:  # type: ignore[override]
        self._step("unlink")
        os.unlink(*arguments, **named)

    def mkdir(self, *arguments: Any, **named: Any) -> None:  # type: ignore[override]
        self._step("mkdir")
        os.mkdir(*arguments, **named)


def files_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# Durability


async def test_an_object_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_answer(tmp_path: Path) -> None:
    steps = Steps()
    async with opened(tmp_path / "db", steps) as store:
        await store.create("ns/log/1", b"12")
        # The way to the folder first, once; then the file; then its name.
        made = ["mkdir", "sync db", "mkdir", "sync ns"]
        create = ["open", "write", "sync file", "link", "sync log", "unlink"]
        assert steps.done[-10:] == made + create
        steps.done.clear()
        await store.create("ns/log/2", b"12")
        assert steps.done == create
        steps.done.clear()
        await store.write("ns/log/2", b"34")
        assert steps.done == [*create[:3], "replace", *create[4:]]


async def test_new_root_directories_are_synced_into_their_parents(tmp_path: Path) -> None:
    steps = Steps()
    async with opened(tmp_path / "a" / "b", steps):
        assert steps.done == [f"sync {tmp_path.name}", "sync a", "sync b"]


async def test_a_refused_create_has_synced_the_folder_that_holds_the_winner(tmp_path: Path) -> None:
    # The taken name may be our own from an attempt that failed between link and sync: "taken" must mean durable.
    steps = Steps()
    async with opened(tmp_path, steps) as store:
        await store.create("ns/log/1", b"first")
        steps.done.clear()
        with pytest.raises(AlreadyExistsError):
            await store.create("ns/log/1", b"second")
        assert steps.done[-3:] == ["link", "sync log", "unlink"]


async def test_a_folder_is_synced_before_its_listing_is_believed(tmp_path: Path) -> None:
    steps = Steps()
    async with opened(tmp_path, steps) as store:
        await store.create("ns/log/1", b"x")
        steps.done.clear()
        await store.list("ns/log/")
        assert steps.done == ["sync log"]


KILLED_CHILD = """
import asyncio, os, sys
from parquedb.storage.backends.directory import System
from parquedb.storage.backends.local import LocalBackend

root, step, armed = sys.argv[1], sys.argv[2], False

def killing(name, call):
    def run(*arguments, **named):
        if armed and step == "before " + name:
            os._exit(9)
        result = call(*arguments, **named)
        if armed and step == "after " + name:
            os._exit(9)
        return result
    return run

class Killing(System):
    def write(self, descriptor, data):
        os.write(descriptor, data[:1000])
        if armed and step == "half-way":
            os._exit(9)
        os.write(descriptor, data[1000:])

for name in ("open", "link", "unlink"):
    setattr(Killing, name, staticmethod(killing(name, getattr(System, name))))
# The second sync is the folder's.
Killing.sync = killing("sync", System.sync)

async def main():
    global armed
    store = LocalBackend(root, system=Killing())
    await store.create("ns/log/0", b"warm")
    armed = True
    await store.create("ns/log/1", b"k" * 2000)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("step", "stored"),
    [
        ("after open", False),
        ("half-way", False),
        ("after sync", False),
        ("before link", False),
        ("after link", True),
        ("before unlink", True),
    ],
)
async def test_a_writer_killed_between_two_steps_leaves_all_or_nothing(tmp_path: Path, step: str, stored: bool) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_CHILD, str(tmp_path), step, env=CHILD_ENVIRONMENT
    )
    assert await child.wait() == 9
    async with opened(tmp_path) as store:
        page = await store.list("ns/log/")
        assert [info.key for info in page.objects] == ["ns/log/0", "ns/log/1"][: 1 + stored]
        if stored:
            assert await store.read("ns/log/1") == b"k" * 2000
            with pytest.raises(AlreadyExistsError):
                await store.create("ns/log/1", b"successor")
        else:
            await store.create("ns/log/1", b"successor")
            assert await store.read("ns/log/1") == b"successor"
    assert len(list((tmp_path / "~tmp").iterdir())) == 1, "this test expects the killed writer to leave its file"


async def test_what_killed_writers_left_is_removed_when_it_is_an_hour_old(tmp_path: Path) -> None:
    class Later(System):
        def __init__(self, hours: float) -> None:
            self.hours = hours

        def now_s(self) -> float:  # type: ignore[override]
            return System.now_s() + self.hours * 3600

    async with opened(tmp_path):
        (tmp_path / "~tmp" / "1-left").write_bytes(b"torn")
    async with opened(tmp_path, Later(0.9)):
        assert (tmp_path / "~tmp" / "1-left").exists()
    async with opened(tmp_path, Later(1.1)):
        assert list((tmp_path / "~tmp").iterdir()) == []


# A failing disk


@pytest.mark.parametrize("step", ["open", "write", "sync file"])
@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, QuotaExceededError, "no room for 'ns/log/1': No space left on device"),
        (errno.EDQUOT, QuotaExceededError, "no room for 'ns/log/1': Disk quota exceeded"),
        (errno.EIO, StorageWriteError, "cannot write 'ns/log/1': Input/output error"),
    ],
)
async def test_a_failure_before_the_link_is_a_definite_no(
    tmp_path: Path, step: str, number: int, kind: type[ParqueDBError], words: str
) -> None:
    steps = Steps()
    async with opened(tmp_path, steps) as store:
        await store.create("ns/log/0", b"00")
        steps.failing = {step: number}
        with pytest.raises(kind) as caught:
            await store.create("ns/log/1", b"11")
        assert str(caught.value) == words
        steps.failing = {}
        assert files_in(tmp_path) == {"ns/log/0": b"00"}
        await store.create("ns/log/1", b"22")
        assert await store.read("ns/log/1") == b"22"


async def test_a_folder_that_cannot_be_made_is_a_definite_no(tmp_path: Path) -> None:
    steps = Steps()
    async with opened(tmp_path, steps) as store:
        steps.failing = {"mkdir": errno.ENOSPC}
        with pytest.raises(QuotaExceededError):
            await store.create("ns/log/1", b"11")
        steps.failing = {"sync ns": errno.EIO}
        with pytest.raises(StorageWriteError):
            await store.create("ns/log/1", b"11")
        steps.failing = {}
        steps.done.clear()
        await store.create("ns/log/1", b"11")
        # What failed to sync was not remembered as synced.
        assert steps.done[:4] == ["mkdir", f"sync {tmp_path.name}", "mkdir", "sync ns"]


async def test_a_failure_of_the_link_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    steps = Steps()
    async with opened(tmp_path, steps) as store:
        steps.failing = {"link": errno.EIO}
        with pytest.raises(OutcomeUnknownError, match="'ns/log/1' may or may not be stored: it could not be linked"):
            await store.create("ns/log/1", b"11")
        steps.failing = {"replace": errno.EIO}
        with pytest.raises(OutcomeUnknownError, match="it could not be renamed: Input/output error"):
            await store.write("ns/log/1", b"11")


async def test_a_folder_that_failed_to_sync_takes_no_more_creates_until_reopened(tmp_path: Path) -> None:
    # The kernel reports a lost write once: a second fsync would call it durable.
    steps = Steps()
    async with opened(tmp_path, steps) as store:
        await store.create("ns/log/0", b"00")
        steps.failing = {"sync log": errno.EIO}
        with pytest.raises(OutcomeUnknownError, match="could not be synced") as caught:
            await store.create("ns/log/1", b"11")
        assert caught.value.key == "ns/log/1"
        steps.failing = {}
        for key in ("ns/log/1", "ns/log/2"):
            with pytest.raises(StorageWriteError, match="an earlier fsync of this folder failed; reopen"):
                await store.create(key, b"22")
        assert await store.create("ns/data/1", b"33")
    async with opened(tmp_path) as reopened:
        await reopened.create("ns/log/2", b"22")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
async def test_a_file_system_without_links_is_refused_by_name(tmp_path: Path, number: int) -> None:
    steps = Steps()
    steps.failing = {"link": number}
    async with opened(tmp_path, steps) as store:
        with pytest.raises(ConfigurationError, match="lies on a file system without hard links"):
            await store.create("ns/log/1", b"11")
        assert files_in(tmp_path) == {}


async def test_a_silent_disk_ends_in_unknown_for_a_create_and_it_may_still_land(tmp_path: Path) -> None:
    steps = Steps()
    async with opened(tmp_path, steps) as store:
        await store.create("ns/log/0", b"00")
        steps.linked.clear()
        steps.gate.clear()
        with pytest.raises(OutcomeUnknownError, match=r"did not answer for 'ns/log/1' within 0.05 s; it may still"):
            await store.create("ns/log/1", b"late", timeout_s=0.05)
        with pytest.raises(TimeoutError, match=r"did not answer for 'ns/log/' within 0.05 s$") as caught:
            await store.list("ns/log/", timeout_s=0.05)
        assert (caught.value.code, caught.value.timeout_s) == (ErrorCode.TIMEOUT, 0.05)
        assert not await store.exists("ns/log/1")
        steps.gate.set()
        assert await asyncio.to_thread(steps.linked.wait, 20)
        assert await store.read("ns/log/1") == b"late"


async def test_a_cancelled_create_frees_its_caller_and_harms_nobody(tmp_path: Path) -> None:
    steps = Steps()
    async with opened(tmp_path, steps, threads_max=1) as store:
        await store.create("ns/log/0", b"00")
        steps.waiting.clear()
        steps.gate.clear()
        running = asyncio.create_task(store.create("ns/log/1", b"11"))
        queued = asyncio.create_task(store.create("ns/log/2", b"22"))
        assert await asyncio.to_thread(steps.waiting.wait, 20)
        for task in (running, queued):
            task.cancel()
        await asyncio.wait({running, queued})
        assert running.cancelled()
        assert queued.cancelled()
        steps.gate.set()
        await store.create("ns/log/3", b"33")
        # The one thread took the first along; the second never began.
        assert sorted(name for name in files_in(tmp_path) if name != "~lock") == ["ns/log/0", "ns/log/1", "ns/log/3"]


# A vanishing root


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_root_that_vanished_is_an_error_everywhere_and_is_not_made_again(
    tmp_path: Path, replaced: bool
) -> None:
    root = tmp_path / "db"
    async with opened(root) as store:
        await store.create("ns/log/1", b"x")
        root.rename(tmp_path / "away")
        if replaced:
            (root / "~tmp").mkdir(parents=True)
        # Nothing may look absent: "no entry at this position" is taken as proof of ownership.
        for call in (
            store.read("ns/log/2"),
            store.read_range("ns/log/1", 0, 1),
            store.read_ranges([Range("ns/log/1", 0, 1)]),
            store.list("ns/log/"),
            store.list_folders(""),
            store.stat("ns/log/1"),
            store.exists("ns/log/1"),
        ):
            with pytest.raises(StorageReadError, match=r"the database directory .* is gone"):
                await call
        for change in (store.create("ns/log/2", b""), store.write("ns/x", b""), store.delete("ns/log/1")):
            with pytest.raises(StorageWriteError, match=r"the database directory .* is gone"):
                await change
        assert root.exists() == replaced
        if replaced:
            assert files_in(root) == {}
            (root / "~tmp").rmdir()
            root.rmdir()
        (tmp_path / "away").rename(root)
        assert await store.read("ns/log/1") == b"x"
        await store.create("ns/log/2", b"back")


async def test_a_removed_folder_for_temporary_files_refuses_writes(tmp_path: Path) -> None:
    # An emptied mount point looks like this; writing there would fill the disk below it.
    async with opened(tmp_path) as store:
        await store.create("ns/log/1", b"x")
        (tmp_path / "~tmp").rmdir()
        with pytest.raises(StorageWriteError, match="cannot write 'ns/log/2': No such file or directory"):
            await store.create("ns/log/2", b"y")
        assert not (tmp_path / "~tmp").exists()


async def test_a_folder_removed_by_hand_refuses_once_and_is_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.create("ns/log/1", b"x")
        (tmp_path / "ns/log/1").unlink()
        (tmp_path / "ns/log").rmdir()
        with pytest.raises(StorageWriteError):
            await store.create("ns/log/2", b"y")
        await store.create("ns/log/2", b"z")
        assert await store.read("ns/log/2") == b"z"


# Links and foreign files


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "outside"
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "secret").write_bytes(b"secret")
    yield folder
    assert files_in(folder) == {"log/secret": b"secret"}, "the outside was touched"


async def test_a_linked_folder_is_refused_by_every_call(tmp_path: Path, outside: Path) -> None:
    async with opened(tmp_path / "db") as store:
        (tmp_path / "db" / "ns").symlink_to(outside)
        for call in (
            store.read("ns/log/secret"),
            store.stat("ns/log/secret"),
            store.exists("ns/log/secret"),
            store.create("ns/log/new", b"x"),
            store.write("ns/log/secret", b"x"),
            store.delete("ns/log/secret"),
            store.list("ns/log/"),
            store.list_folders("ns/"),
        ):
            with pytest.raises(PathTraversalError, match="'ns' in the database directory is a symbolic link"):
                await call
        assert (await store.list("")).objects == ()
        assert await store.list_folders("") == ()


async def test_a_linked_file_is_neither_read_nor_written_through(tmp_path: Path, outside: Path) -> None:
    async with opened(tmp_path / "db") as store:
        await store.create("ns/log/1", b"x")
        for name in ("secret", "stays"):
            (tmp_path / "db" / "ns" / "log" / name).symlink_to(outside / "log" / "secret")
        with pytest.raises(PathTraversalError):
            await store.read("ns/log/secret")
        with pytest.raises(AlreadyExistsError):
            await store.create("ns/log/secret", b"x")
        await store.write("ns/log/secret", b"replaces the link itself")
        await store.delete("ns/log/stays")
        assert [info.key for info in (await store.list("ns/log/")).objects] == ["ns/log/1", "ns/log/secret"]


async def test_a_folder_for_temporary_files_that_is_a_link_is_refused(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "~tmp").symlink_to(outside)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        LocalBackend(tmp_path / "db")


async def test_the_root_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    async with opened(tmp_path / "link") as store:
        await store.create("ns/log/1", b"x")
    assert (tmp_path / "real/ns/log/1").read_bytes() == b"x"


async def test_foreign_files_are_no_objects(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.create("ns/log/1", b"x")
        for name in (".DS_Store", "README", "ns/log/UPPER", "ns/log/a b", "~other"):
            (tmp_path / name).write_bytes(b"foreign")
        os.mkfifo(tmp_path / "ns" / "log" / "pipe")
        assert [info.key for info in (await store.list("")).objects] == ["ns/log/1"]
        for key in ("ns/log/pipe", "ns/log", "ns/log/1/below"):
            with pytest.raises(ObjectNotFoundError):
                await store.read(key, timeout_s=5)
        with pytest.raises(StorageWriteError, match="Not a directory"):
            await store.create("ns/log/1/below", b"x")


# Many at a time


async def test_a_page_of_a_large_folder_is_right_at_both_ends(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.create(f"ns/log/{0:020}", b"x")
        for number in range(1, 2200):
            (tmp_path / "ns" / "log" / f"{number:020}").write_bytes(b"")
        first = await store.list("ns/log/", limit=1)
        assert ([info.key for info in first.objects], first.more) == ([f"ns/log/{0:020}"], True)
        middle = await store.list("ns/log/", after=f"ns/log/{700:020}")
        expected = [f"ns/log/{number:020}" for number in range(701, 1701)]
        assert ([info.key for info in middle.objects], middle.more) == (expected, True)
        last = await store.list("ns/log/", after=f"ns/log/{1199:020}")
        assert (len(last.objects), last.more) == (1000, False)


async def test_many_creates_in_new_folders_at_once_all_land(tmp_path: Path) -> None:
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        keys = [f"ns{number % 4}/log/{number}" for number in range(64)]
        await asyncio.gather(*((one, two)[number % 2].create(key, key.encode()) for number, key in enumerate(keys)))
        assert {key: await one.read(key) for key in keys} == {key: key.encode() for key in keys}
        assert await two.list_folders("") == ("ns0", "ns1", "ns2", "ns3")


async def test_nothing_comes_between_the_compare_and_the_swap_of_a_conditional_write(tmp_path: Path) -> None:
    class HeldAtTheSwap(Steps):
        def sync(self, descriptor: int) -> None:
            os.fsync(descriptor)

    steps = HeldAtTheSwap()
    async with opened(tmp_path, steps) as one, opened(tmp_path) as two:
        first = await one.create("ns/hint", b"first")
        steps.gate.clear()
        holding = asyncio.create_task(one.write("ns/hint", b"second", if_match=first.etag))
        assert await asyncio.to_thread(steps.waiting.wait, 20)
        rivals = {
            "swap": asyncio.create_task(two.write("ns/hint", b"rival", if_match=first.etag)),
            "write": asyncio.create_task(two.write("ns/other", b"plain")),
            "delete": asyncio.create_task(two.delete("ns/hint")),
        }
        done, _ = await asyncio.wait(rivals.values(), timeout=0.3)
        assert done == set()
        steps.gate.set()
        await holding
        with pytest.raises(ETagMismatchError) as caught:
            await rivals["swap"]
        assert caught.value.actual != first.etag
        await rivals["write"]
        await rivals["delete"]
        assert not await one.exists("ns/hint")


RACING_CHILD = """
import asyncio, sys
from parquedb.errors import AlreadyExistsError
from parquedb.storage.backends.local import LocalBackend

root, me = sys.argv[1], sys.argv[2]

async def main():
    store = LocalBackend(root)
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    sys.stdin.readline()
    for number in range(60):
        try:
            await store.create(f"ns/log/{number}", me.encode() * 5000)
        except AlreadyExistsError:
            continue
        sys.stdout.write(f"{number}\\n")

asyncio.run(main())
"""


def test_of_racing_processes_exactly_one_wins_each_key_and_its_bytes_are_stored(tmp_path: Path) -> None:
    children = {
        name: subprocess.Popen(
            [sys.executable, "-c", RACING_CHILD, str(tmp_path), name],
            env=CHILD_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    }
    for child in children.values():
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children.values():
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    wins = [(int(line), name) for name, child in children.items() for line in child.communicate(timeout=60)[0].split()]
    assert sorted(number for number, _ in wins) == list(range(60))
    assert all((tmp_path / f"ns/log/{number}").read_bytes() == name.encode() * 5000 for number, name in wins)


async def test_closing_does_not_wait_for_ever_and_gives_the_directory_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with opened(tmp_path) as store:
        await store.create("ns/log/1", b"x")
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before
