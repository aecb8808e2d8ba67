"""The commands of a site, which the runbook leaves to whoever runs the database: here they ask the drill.

`site.sh` defines them as functions of the shell. Each is a request to an endpoint of the drill's process.
"""

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: Final = (
    "mend_store",
    "free_disk",
    "restore_object",
    "add_node",
    "kill_owner",
    "start_gateway",
    "deploy",
    "stop_job",
)
BLOCK_S: Final = 60.0

Command = Callable[..., Awaitable[None]]


class BlockFailedError(Exception):
    """A block of the runbook did not do what it is to do; the message quotes what it said."""


class Site:
    """Runs blocks of the runbook. An async context manager.

    Args:
        folder: For its files.
        variables: What the page calls `$PARQUEDB_URL` and so on, and all that the `parquedb` command needs.
        block_s: The longest that the commands of one step may take, seconds.

    Attributes:
        commands: What each of `COMMANDS` does in this drill; one that is missing fails the block that says it.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], *, block_s: float = BLOCK_S) -> None:
        self.commands: dict[str, Command] = {}
        self._folder = folder
        self._variables = dict(variables)
        self._block_s = block_s
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Site":
        application = web.Application()
        application.router.add_post("/{command}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        functions = [
            f'{name}() {{ curl -fsS -X POST "http://127.0.0.1:{port}/{name}" --data-binary "$*"; }}'
            for name in COMMANDS
        ]
        (self._folder / "site.sh").write_text("\n".join(functions) + "\n")
        bin_folder = self._folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "parquedb").write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m parquedb.cluster.cli "$@"\n'
        )
        (bin_folder / "parquedb").chmod(0o755)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def run(self, block: str, *, strictly: bool = True) -> str:
        """Run a block; return what it printed.

        Args:
            block: Shell commands.
            strictly: Whether it ends with the first command that fails. A look at a sick system may fail: then only
                commands that do not exist are an error.

        Raises:
            BlockFailedError: it failed, or took too long.
        """
        options = "-euo pipefail" if strictly else "-uo pipefail"
        script = f"set {options}\n. {shlex.quote(str(self._folder / 'site.sh'))}\n{block}"
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script,
            cwd=self._folder,
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._block_s):
                output, _ = await process.communicate()
        except TimeoutError as error:
            os.killpg(process.pid, signal.SIGKILL)  # Its programs too: they hold its output open.
            await process.communicate()
            raise BlockFailedError(f"no end within {self._block_s:g} s:\n{block}") from error
        text = output.decode(errors="replace")
        unknown = "command not found" in text
        if unknown or (strictly and process.returncode):
            raise BlockFailedError(f"exit code {process.returncode}:\n{block}\n{text[-2000:]}")
        return text

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PARQUEDB_"))}
        path = f"{self._folder / 'bin'}:{os.environ['PATH']}"
        return inherited | self._variables | {"PATH": path, "PYTHONPATH": str(ROOT)}

    async def _answer(self, request: web.Request) -> web.Response:
        command = self.commands.get(request.match_info["command"])
        if command is None:
            return web.Response(status=404, text=f"nobody provides {request.match_info['command']} here\n")
        words = shlex.split(await request.text())
        try:
            await command(*words)
        except Exception as error:  # noqa: BLE001 - told to the shell
            return web.Response(status=500, text=f"{type(error).__name__}: {error}\n")
        return web.Response()
