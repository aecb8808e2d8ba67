"""The demo, from start to end: real data in, then each promise is put to the test and its proof shown."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ray
from rich.console import Console

import parquedb
from parquedb.cluster.cli import demo_data, demo_trials
from parquedb.cluster.cli.demo_screen import Screen
from parquedb.cluster.cli.wording import duration
from parquedb.errors import ConfigurationError

OBJECT_STORE_BYTES = 200 * 1024 * 1024


@dataclass
class Demo:
    """One run of the demo.

    Attributes:
        directory: Where the database goes; empty or absent.
        keep: Leave the directory there at the end.
        flights: Import only so many flights; None imports all.
        as_json: Whether standard output gets a JSON object at the end, and nothing else.
        screen: The terminal.
    """

    directory: Path
    keep: bool = False
    flights: int | None = None
    as_json: bool = False
    screen: Screen = field(default_factory=Screen)

    @classmethod
    def prepared(
        cls, directory: Path | None, *, keep: bool = False, flights: int | None = None, as_json: bool = False
    ) -> "Demo":
        """Make a demo in a directory, or in a temporary one when it is None; the other arguments as of the class.

        Raises:
            ConfigurationError: the directory holds something already.
        """
        screen = Screen(Console(file=sys.stderr)) if as_json else Screen()
        if directory is None:
            return cls(Path(tempfile.mkdtemp(prefix="parquedb-demo-")), keep, flights, as_json, screen)
        if directory.exists() and any(directory.iterdir()):
            raise ConfigurationError(f"{directory} is not empty", setting="--directory")
        return cls(directory.resolve(), True, flights, as_json, screen)

    def run(self) -> bool:
        """Run every section, then clean up.

        Returns:
            True when every proof held.
        """
        started_s = time.perf_counter()
        try:
            with silence(), local_ray():
                asyncio.run(self.tell())
            return self.conclude(time.perf_counter() - started_s)
        finally:
            if self.keep:
                self.screen.say(f"The database is in [bold]{self.directory}[/].")
            else:
                shutil.rmtree(self.directory, ignore_errors=True)

    def conclude(self, elapsed_s: float) -> bool:
        """Say which proofs held; return whether all did."""
        good = self.screen.conclude(elapsed_s)
        if self.as_json:
            print(
                json.dumps({"ok": good, "held": self.screen.held, "failed": self.screen.failed, "seconds": elapsed_s})
            )
        return good

    async def tell(self) -> None:
        """Go through the sections in order."""
        root, screen = self.directory / "db", self.screen
        screen.section("Connect")
        started_s = time.perf_counter()
        data = demo_data.load(self.flights)
        async with await parquedb.connect_async(str(root)) as db:
            screen.say(
                f"The database is the directory [bold]{root}[/]. There is no server to start: each "
                "namespace is served by a Ray actor, which comes into being on first use."
            )
            screen.say(f"[dim]Ready after {duration(time.perf_counter() - started_s)}.[/]")
            stage = demo_trials.Stage(db, screen, root, data)
            await demo_trials.import_real_data(stage)
            await demo_trials.read_and_query(stage)
            await demo_trials.conflict(stage)
            await demo_trials.kill_the_owner(stage)
            await demo_trials.take_the_storage_away(stage)
            await demo_trials.look_at_the_files(stage)
            await demo_trials.follow_one_write(stage)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep Ray's own notices off the terminal, where it reports the death of each worker; the screen has its own."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def local_ray() -> Iterator[None]:
    """Start a Ray of our own: the demo kills processes, so it stays away from a cluster that others use."""
    # Workers inherit the environment; without this each prints a warning about accelerators.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    try:
        yield
    finally:
        ray.shutdown()
