"""Asking the head of the cluster, for no longer than callers wait.

Ray's questions about names, and the start of an actor, know no time limit: without a head they return when it is back.
So a thread asks, at most one for each question, and whoever wants to know waits for it.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from parquedb.errors import RpcUnavailableError


class Lookup:
    """One question to the cluster. Safe to share between threads and loops.

    Args:
        question: For errors, such as "which actor serves 'posts'".
        find: Asks; blocks.
    """

    def __init__(self, question: str, find: Callable[[], Any]) -> None:
        self._question = question
        self._find = find
        self._lock = threading.Lock()
        self._asking: Future[Any] | None = None

    @property
    def under_way(self) -> bool:
        """Whether the cluster has been asked and has not answered yet."""
        return self._asking is not None

    def result(self, timeout_s: float) -> Any:
        """Return the answer.

        Raises:
            RpcUnavailableError: the cluster did not say within `timeout_s`.
            Exception: what asking came to.
        """
        try:
            return self._asked().result(timeout_s)
        except FutureTimeoutError:
            raise self.unanswered(timeout_s) from None

    async def result_async(self, timeout_s: float) -> Any:
        """Do what `result` does, without blocking the loop."""
        try:
            async with asyncio.timeout(timeout_s):
                answer = asyncio.wrap_future(self._asked())
                # Of who gives up nobody asks any more what it came to.
                answer.add_done_callback(lambda done: done.cancelled() or done.exception())
                # Others wait for the same answer: who gives up cancels nothing.
                return await asyncio.shield(answer)
        except TimeoutError:
            raise self.unanswered(timeout_s) from None

    def _asked(self) -> Future[Any]:
        with self._lock:
            asking = self._asking
            if asking is None:
                asking = self._asking = Future()
                # A daemon: one that still waits for a dead head must not keep the program from ending.
                threading.Thread(target=self._ask, args=(asking,), name="parquedb-lookup", daemon=True).start()
            return asking

    def _ask(self, asking: Future[Any]) -> None:
        try:
            handle, failure = self._find(), None
        except Exception as error:  # noqa: BLE001 - told to those who wait
            handle, failure = None, error
        with self._lock:
            self._asking = None
        if failure is None:
            asking.set_result(handle)
        else:
            asking.set_exception(failure)

    def unanswered(self, timeout_s: float) -> RpcUnavailableError:
        """Return what to tell whoever has waited for so long."""
        return RpcUnavailableError(
            f"the Ray cluster did not say within {timeout_s:.3g} s {self._question}: its head (GCS) does not answer. "
            "Nothing was sent; owners that this process knows already are not concerned. Try again"
        )
