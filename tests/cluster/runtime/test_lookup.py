"""Asking who serves a namespace, while nobody answers."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from parquedb.cluster.runtime.lookup import Lookup
from parquedb.errors import RpcUnavailableError


class Silent:
    """A cluster that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = threading.Event()

    def find(self) -> str:
        self.asked += 1
        assert self.answer.wait(30)
        return f"handle {self.asked}"


@pytest.fixture
def cluster() -> Iterator[Silent]:
    silent = Silent()
    yield silent
    silent.answer.set()


def test_a_silent_cluster_is_named_as_such_when_the_caller_s_time_is_over(cluster: Silent):
    lookup = Lookup("which actor serves 'posts'", cluster.find)
    with pytest.raises(
        RpcUnavailableError, match=r"which actor serves 'posts': its head \(GCS\) does not answer"
    ) as caught:
        lookup.result(0.01)
    assert caught.value.retryable
    assert lookup.under_way


async def test_a_loop_is_not_held_up_and_told_the_same(cluster: Silent):
    lookup = Lookup("which actor serves 'posts'", cluster.find)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    with pytest.raises(RpcUnavailableError):
        await lookup.result_async(0.05)
    turning.cancel()
    assert turns > 10


async def test_all_who_ask_meanwhile_share_one_question_and_its_answer(cluster: Silent):
    lookup = Lookup("which actor serves 'posts'", cluster.find)
    with pytest.raises(RpcUnavailableError):
        lookup.result(0.01)
    waiting = [asyncio.create_task(lookup.result_async(30)) for _ in range(20)]
    await asyncio.sleep(0)
    cluster.answer.set()
    assert await asyncio.gather(*waiting) == ["handle 1"] * 20
    assert not lookup.under_way
    assert lookup.result(30) == "handle 2"


def test_what_the_cluster_refuses_is_told_as_it_is_and_asked_anew_the_next_time():
    refusals = iter([ValueError("no such node"), None])

    def find() -> str:
        refusal = next(refusals)
        if refusal is not None:
            raise refusal
        return "handle"

    lookup = Lookup("which actor serves 'posts'", find)
    with pytest.raises(ValueError, match="no such node"):
        lookup.result(30)
    assert lookup.result(30) == "handle"
