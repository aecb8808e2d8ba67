"""Storage that a client reaches by itself: opened once, closed with the database, avoided while it is out of reach."""

import asyncio
import os
from typing import Any

import pytest

from parquedb.cluster.loads import direct_storage
from parquedb.cluster.loads.direct_storage import DirectStorage, UnreachableError
from parquedb.errors import AlreadyExistsError, NetworkError, ValidationError
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.memory import MemoryBackend


class Opened(DelegatingBackend):
    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.loop = asyncio.get_running_loop()
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Opener:
    def __init__(self) -> None:
        self.opened: list[Opened] = []

    def __call__(self) -> StorageBackend:
        self.opened.append(Opened())
        return self.opened[-1]


async def exists(storage: StorageBackend) -> bool:
    return await storage.exists("a")


def test_it_is_opened_once_on_a_loop_of_its_own_and_anew_after_it_was_closed() -> None:
    opener = Opener()
    direct = DirectStorage(opener)
    direct.close()
    assert [direct.run(exists, 5) for _ in range(3)] == [False] * 3
    [first] = opener.opened
    direct.close()
    assert first.closed
    assert direct.run(exists, 5) is False
    assert len(opener.opened) == 2
    assert opener.opened[1].loop is not first.loop
    direct.close()


async def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [ValidationError("no"), AlreadyExistsError("taken")])
def test_what_is_wrong_with_the_data_is_told_as_it_is(error: Exception) -> None:
    direct = DirectStorage(Opener())
    with pytest.raises(type(error)):
        direct.run(lambda _: raising(error), 5)
    assert direct.usable
    direct.close()


def test_a_store_out_of_reach_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = DirectStorage(Opener())
    with pytest.raises(UnreachableError, match="no route"):
        direct.run(lambda _: raising(NetworkError("no route")), 5)
    assert not direct.usable
    monkeypatch.setattr(direct_storage, "AVOIDED_S", -1.0)
    other = DirectStorage(Opener())
    with pytest.raises(UnreachableError):
        other.run(lambda _: asyncio.sleep(60), 0.01)
    assert other.usable, "tried again after the while"
    direct.close()
    other.close()


def test_one_that_only_its_owners_see_is_never_tried() -> None:
    assert not DirectStorage(Opener(), reachable=False).usable


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_a_thread_of_its_own() -> None:
    direct = DirectStorage(Opener())
    direct.run(exists, 5)
    pid: Any = os.fork()
    if not pid:
        # No pytest in here: the child says by its exit code how it went.
        try:
            os._exit(0 if direct.run(exists, 5) is False else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    direct.close()
