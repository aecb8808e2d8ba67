"""The loop in the background that does the requests of threads."""

import asyncio
import contextvars
import multiprocessing
import multiprocessing.connection
import threading

import pytest

import parquedb
from parquedb.cluster.http.background import BackgroundLoop
from parquedb.errors import RpcUnavailableError
from tests.support.gateway_server import GatewayServer

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


def test_work_is_done_in_the_context_of_whoever_waits_for_it() -> None:
    loop = BackgroundLoop()

    async def whose() -> str:
        return name.get()

    token = name.set("ada")
    assert loop.run(whose) == "ada"
    name.reset(token)
    assert loop.run(whose) == "nobody"
    loop.stop()


def test_an_error_comes_out_as_itself() -> None:
    loop = BackgroundLoop()

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        loop.run(fail)
    loop.stop()


def test_whoever_waits_for_what_never_ends_is_let_go_when_the_loop_ends() -> None:
    loop = BackgroundLoop()
    begun, told = threading.Event(), []

    async def never() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            loop.run(never)
        except RpcUnavailableError as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(10)
    loop.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert len(told) == 1


def _create(database: parquedb.Database, told: "multiprocessing.connection.Connection") -> None:
    told.send(database["forked"].create({"from": "the child"})["from"])


def test_a_forked_child_uses_what_it_inherits_with_a_loop_of_its_own(server: GatewayServer) -> None:
    with parquedb.connect(server.url) as db:
        db["forked"].create({"from": "the parent"})
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=_create, args=(db, theirs))
        child.start()
        assert ours.poll(30)
        assert ours.recv() == "the child"
        child.join(20)
        assert db["forked"].count() == 2
