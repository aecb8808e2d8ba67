"""`parquedb serve` as a process, of this version of the code or of another, on a port that it keeps."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.drills.site import ROOT
from tests.support.chaos.processes import die_with_parent
from tests.support.collector import free_port

START_S = 60.0
END_S = 20.0


class Gateway:
    """One gateway.

    Args:
        variables: Its environment besides what is inherited.
        log: Where it writes what it has to say.

    Attributes:
        port: Where it listens, also after a new start.
    """

    def __init__(self, variables: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self._variables = dict(variables)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, code: Path = ROOT) -> None:
        """Start it from a folder with the code, and return when it listens.

        Raises:
            RuntimeError: it did not start.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PARQUEDB_"))}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "parquedb.cluster.cli",
                    "serve",
                    "--single",
                    "--json",
                    "--port",
                    str(self.port),
                ),
                cwd=code,
                env=inherited | self._variables | {"PYTHONPATH": str(code)},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await self._process.stdout.readline()
                json.loads(line)
        except (TimeoutError, ValueError) as error:
            raise RuntimeError(f"the gateway did not start; its log ends:\n{self._log.read_text()[-2000:]}") from error

    async def kill(self) -> None:
        """End it without a word."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def end(self) -> None:
        """End it in order."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
