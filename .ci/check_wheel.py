"""Build the wheel, look inside it, and run the tests against it away from the checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".wheel"
TESTED = ("parquedb", "documents", "observability", "storage", "actors", "cluster")


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
    """Run a command and stop here when it fails."""
    print("$", *command, flush=True)
    if subprocess.run(command, cwd=cwd, env=env, check=False).returncode:
        sys.exit("check-wheel stops here: the command above failed")


def expected_files() -> set[str]:
    """Name every file the wheel must hold, from pyproject's packages, the folders they lie in, and their data."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    data = {
        f"{package.replace('.', '/')}/{path.relative_to(folder)}"
        for package, patterns in setuptools["package-data"].items()
        for folder in [ROOT / setuptools["package-dir"][package]]
        for pattern in patterns
        for path in folder.glob(pattern)
    }
    modules = {
        f"{package.replace('.', '/')}/{path.name}"
        for package in setuptools["packages"]
        for path in (ROOT / setuptools["package-dir"][package]).glob("*.py")
    }
    return modules | data


def look_inside(wheel: Path) -> None:
    """Compare the wheel with the checkout: nothing missing, nothing else installed."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        top_level = archive.read(next(name for name in archive.namelist() if name.endswith("top_level.txt"))).decode()
    expected = expected_files()
    if names != expected:
        sys.exit(f"missing from the wheel: {sorted(expected - names)}; not expected: {sorted(names - expected)}")
    if top_level.split() != ["parquedb"]:
        sys.exit(f"the wheel installs {top_level.split()} at the top level, not just parquedb")
    print(f"{wheel.name}: {len(names)} files, all under parquedb/")


def main() -> None:
    """Build, inspect, install beside the checkout, test."""
    for folder in ("build", "dist", ".wheel"):
        shutil.rmtree(ROOT / folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", WORK / "dist", ROOT)
    (wheel,) = (WORK / "dist").glob("*.whl")
    look_inside(wheel)

    site, away = WORK / "site", WORK / "away"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel)
    # `away` holds the tests, the pages they read and their configuration but no parquedb, so that only the wheel can be
    # imported.
    for folder in ("tests", "docs"):
        shutil.copytree(ROOT / folder, away / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", away)
    env = {**os.environ, "PYTHONPATH": str(site)}
    where = f"import parquedb, sys; sys.exit(0 if parquedb.__file__.startswith({str(site)!r}) else parquedb.__file__)"
    run(sys.executable, "-P", "-c", where, cwd=away, env=env)
    folders = [f"tests/{name}" for name in TESTED if (away / "tests" / name).is_dir()]
    if not folders:
        sys.exit("no tests found to run against the wheel")
    run(sys.executable, "-P", "-m", "pytest", "-q", *folders, cwd=away, env=env)


if __name__ == "__main__":
    main()
