"""A real Prometheus for tests, and its promtool: those on the PATH, else Debian's package, unpacked beside the venv."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.collector import free_port

PROGRAMS = ("prometheus", "promtool")
INSTALL_S = 120.0
START_S = 20.0


class UnavailableError(Exception):
    """No Prometheus can be had on this machine; the message says why."""


@dataclass(frozen=True)
class Programs:
    """Where the two programs are."""

    prometheus: Path
    promtool: Path

    def check(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run promtool; its verdict is the return code."""
        return subprocess.run([self.promtool, *arguments], capture_output=True, text=True, check=False, timeout=60)


def find_programs() -> Programs:
    """Return the programs, installed once for all later runs; needs no root.

    Raises:
        UnavailableError: they are not here and cannot be fetched.
    """
    on_path = [shutil.which(name) for name in PROGRAMS]
    if all(on_path):
        return Programs(*(Path(str(found)) for found in on_path))
    in_venv = sys.prefix != sys.base_prefix
    cache = Path(sys.prefix, "prometheus") if in_venv else Path.home() / ".cache" / "parquedb-tests" / "prometheus"
    if not all((cache / name).exists() for name in PROGRAMS):
        _install(cache)
    return Programs(*(cache / name for name in PROGRAMS))


def _install(cache: Path) -> None:
    missing = [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]
    if missing:
        raise UnavailableError(f"there is no prometheus on the PATH, and no {' and '.join(missing)} to fetch it with")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
            work = Path(folder)
            (package,) = _download(work)
            _run(["dpkg", "-x", str(package), str(work / "root")], work)
            for name in PROGRAMS:
                (work / "ready").mkdir(exist_ok=True)
                shutil.move(work / "root" / "usr" / "bin" / name, work / "ready" / name)
            # Whole or not at all; where another run was quicker its copy is as good.
            with contextlib.suppress(FileExistsError, OSError):
                (work / "ready").rename(cache)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        output = getattr(error, "stderr", None) or ""
        raise UnavailableError(f"prometheus could not be installed: {error} {output[-500:]}") from error


def _download(work: Path) -> list[Path]:
    try:
        _run(["apt-get", "download", "prometheus"], work)
    except subprocess.CalledProcessError:
        # The package lists are missing or too old; those of our own need no root.
        lists, archives = work / "lists" / "partial", work / "archives" / "partial"
        for each in (lists, archives):
            each.mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={lists.parent}", "-o", f"Dir::Cache={work}", "-o", "APT::Sandbox::User="]
        _run(["apt-get", *own, "update"], work)
        _run(["apt-get", *own, "download", "prometheus"], work)
    return list(work.glob("prometheus_*.deb"))


def _run(command: Sequence[str], work: Path) -> None:
    subprocess.run(command, cwd=work, capture_output=True, text=True, check=True, timeout=INSTALL_S)


class Prometheus:
    """A running Prometheus.

    Attributes:
        url: Of its API.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Return the `data` of an answer of the API.

        Raises:
            AssertionError: it was an error; quotes it.
        """
        query = urllib.parse.urlencode(parameters or {})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query, now."""
        samples: list[dict[str, Any]] = self.get("query", {"query": expression})["result"]
        return samples

    def wait_for(self, expression: str, timeout_s: float = 15.0) -> list[dict[str, Any]]:
        """Return the samples of a query once it has some.

        Raises:
            TimeoutError: it stayed empty.
        """
        deadline_s = time.monotonic() + timeout_s
        while not (samples := self.query(expression)):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no samples within {timeout_s:g} s: {expression}")
            time.sleep(0.1)
        return samples


@contextlib.contextmanager
def running_prometheus(
    programs: Programs, folder: Path, targets: Mapping[str, str], rules: Path, interval: str = "200ms"
) -> Iterator[Prometheus]:
    """Run a Prometheus until the block ends.

    Args:
        programs: From `find_programs`.
        folder: An existing folder for its data.
        targets: `host:port` that it scrapes at /metrics, by the name of the job.
        rules: A rules file.
        interval: Between two scrapes, and between two evaluations of the rules.
    """
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in targets.items()],
    }
    (folder / "prometheus.json").write_text(json.dumps(config))  # JSON is YAML.
    port = free_port()
    command = [
        str(programs.prometheus),
        f"--config.file={folder / 'prometheus.json'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"GOMAXPROCS": "1"})
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/-/ready", process, folder / "log")
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError(f"Prometheus did not start; its log ends:\n{log.read_text()[-2000:]}") from error
            time.sleep(0.05)
        else:
            return
