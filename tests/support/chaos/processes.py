"""Processes of a slice: told and asked by lines of JSON, killed by their ids, none left behind. Linux only."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
LINE_BYTES_MAX = 1 << 20
END_S = 10.0

_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36


class Child:
    """A Python process that runs a module with one JSON argument, and talks by lines of JSON.

    The module is one of this package, or has a dotted name.

    What it says with an `id` answers the command of that id; everything else goes to `on_event`.
    """

    def __init__(self, process: asyncio.subprocess.Process, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._process = process
        self._on_event = on_event
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._commands = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        module: str,
        task: Mapping[str, Any],
        log: Path,
        *,
        environment: Mapping[str, str],
        on_event: Callable[[dict[str, Any]], None] = lambda _event: None,
    ) -> "Child":
        """Start it; what it prints to stderr is appended to `log`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        name = module if "." in module else f"{__package__}.{module}"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", name, json.dumps(task)),
                cwd=ROOT,
                env=inherited | {"PYTHONPATH": str(ROOT)} | dict(environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=LINE_BYTES_MAX,
                preexec_fn=die_with_parent,
            )
        return cls(process, on_event)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, command: str, timeout_s: float, **facts: Any) -> dict[str, Any]:
        """Send a command and return its answer.

        Raises:
            TimeoutError: there was none in time.
            ConnectionError: the process has ended.
        """
        self._commands += 1
        number = self._commands
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps({"id": number, "do": command, **facts}).encode() + b"\n")
                await self._process.stdin.drain()
                await asyncio.wait({future, self._reader}, return_when=asyncio.FIRST_COMPLETED)
                if not future.done():
                    raise ConnectionError(f"the process ended before it answered {command!r}")
                return future.result()
        finally:
            del self._answers[number]

    async def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def end(self) -> int:
        """Close its stdin, which asks it to end; return its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
        await self._reader
        return self._process.returncode or 0

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            future = self._answers.get(event.get("id", 0))
            if future is None:
                self._on_event(event)
            elif not future.done():
                future.set_result(event)


def own_stdout() -> Callable[[dict[str, Any]], None]:
    """Take stdout for lines of JSON, in a child; whatever else prints there goes to stderr from now on."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda event: print(json.dumps(event), file=lines)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, so that `kill_descendants` finds all of them."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)


def kill_descendants() -> list[int]:
    """Kill all descendants of this process and wait until they are gone; return the ids of those there were."""
    killed = []
    end_s = time.monotonic() + END_S
    while (found := descendants(os.getpid())) and time.monotonic() < end_s:
        for pid in found:
            kill(pid, signal.SIGKILL)
        killed += found
        time.sleep(0.01)
    # Those that this process adopted are its own to reap.
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return sorted(set(killed))


def descendants(pid: int) -> list[int]:
    """Return the ids of all living processes below one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name, in parentheses, may hold anything.
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found, at = [pid], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found[1:]


def kill(pid: int, number: signal.Signals) -> bool:
    """Send a signal; whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; called in a child before it becomes another program."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
