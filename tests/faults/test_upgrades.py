"""Versions before and after each other on one database: upgrade, rollback, and both at once.

Earlier states of this repository run as they were, in processes of their own, with an owner in a Ray of their own.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.versions.checkouts import ROOT, TODAY, checkout, contents, live, missing

BEFORE = "d3c08a1"
"""The last state before formats were told apart by name; between it and today every way is open."""

STARTABLE = "5386626"
"""The first state whose owners later clients can start: since then Ray is sent no more than the name of their class."""

EARLIER = ("6118446", "c641115")
"""States at the ends of earlier stretches of work; the first knows no joined updates."""

FIRST = "a8dd438"
"""From before there was history: neither it nor today reads what the other wrote."""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkouts")


def version(commit: str, folder: Path) -> Path:
    if (reason := missing(commit)) is not None:
        pytest.skip(reason)
    return checkout(commit, folder)


def verified(url: Path) -> dict[str, Any]:
    """Return what today's `parquedb verify` says of a database, which has to be well."""
    command = [sys.executable, "-m", "parquedb.cluster.cli", "verify", str(url), "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def lived(path: Path, url: Path, number: int, **how: Any) -> dict[str, Any]:
    seen = live(path, str(url), number, **how)
    assert "refused" not in seen, seen
    assert seen["wrong"] == []
    verified(url)
    return seen


@pytest.mark.parametrize(("commit", "end"), [(EARLIER[0], "kill"), (EARLIER[1], "close")])
def test_today_opens_what_an_earlier_version_wrote_and_goes_on(
    commit: str, end: str, folder: Path, tmp_path: Path
) -> None:
    url = tmp_path / "db"
    lived(version(commit, folder), url, 1, end=end)
    lived(version(TODAY, folder), url, 2)


def test_a_version_too_old_for_what_today_wrote_refuses_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    url, old = tmp_path / "db", version(FIRST, folder)
    lived(version(TODAY, folder), url, 1)
    before = contents(url)
    seen = live(old, str(url), 2)
    assert seen["refused"] == "CorruptionError"
    assert contents(url) == before
    lived(version(TODAY, folder), url, 2)


def test_production_follows_staging_and_rolls_back(folder: Path, tmp_path: Path) -> None:
    """`docs/upgrades.md`, step by step, on two databases."""
    old, new = version(BEFORE, folder), version(TODAY, folder)
    staging, production = tmp_path / "staging", tmp_path / "production"
    for url in (staging, production):
        lived(old, url, 1)
    lived(new, staging, 2)
    lived(old, staging, 3)
    # Staging went there and back: production goes, with the old owner killed instead of closed.
    lived(old, production, 2, end="kill")
    lived(new, production, 3, end="kill")
    lived(old, production, 4)
    lived(new, production, 5)


@pytest.mark.parametrize(
    ("client", "owner"),
    [(BEFORE, TODAY), (STARTABLE, TODAY), (TODAY, STARTABLE)],
    ids=["older client", "old client", "old owner"],
)
def test_clients_and_owners_of_neighbouring_versions_work_together(
    client: str, owner: str, folder: Path, tmp_path: Path
) -> None:
    seen = lived(version(client, folder), tmp_path / "db", 1, owner_path=version(owner, folder))
    if client != BEFORE:  # That one cannot read it.
        assert seen["owner_version"] is not None
