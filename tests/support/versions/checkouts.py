"""Earlier states of this repository as folders to run from, and lives of owners of them."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
TODAY = "today"
LIFE_S = 120.0

_LIFE = Path(__file__).with_name("life.py")


def missing(commit: str) -> str | None:
    """Return why an earlier state cannot be had; None if it can."""
    if commit == TODAY:
        return None
    if shutil.which("git") is None:
        return "git is not installed"
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    return (
        None
        if found.returncode == 0
        else f"this clone does not have {commit}; a full one does (`git fetch --unshallow`)"
    )


def checkout(commit: str, folder: Path) -> Path:
    """Return a folder with the package as of a commit."""
    if commit == TODAY:
        return ROOT
    place = folder / commit
    if not place.exists():
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(place, filter="data")
    return place


def live(path: Path, url: str, number: int, *, end: str = "close", owner_path: Path | None = None) -> dict[str, Any]:
    """Let an owner of one version live on a database; return what it saw (`tests.support.versions.life`)."""
    task = {"url": url, "number": number, "end": end, "owner_path": None if owner_path is None else str(owner_path)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PARQUEDB_"))}
    with tempfile.TemporaryDirectory() as elsewhere:
        # A folder of its own: the script's is in front of the path, and its package is not the one to run.
        script = Path(shutil.copy(_LIFE, elsewhere))
        run = subprocess.run(
            [sys.executable, str(script), json.dumps(task)],
            cwd=elsewhere,
            env=environment | {"PYTHONPATH": str(path), "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=LIFE_S,
            check=False,
        )
    lines = run.stdout.strip().splitlines()
    assert run.returncode == 0, f"life {number} of {path.name} ended badly:\n{run.stderr[-4000:]}"
    seen: dict[str, Any] = json.loads(lines[-1])
    assert seen["path"] == str(path), f"{seen['path']} was run instead of {path}"
    return seen


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every object of a database in a directory, by its name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "~probe" not in path.parts and "~tmp" not in path.parts
    }
