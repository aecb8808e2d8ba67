"""All drills, as one test: `make drills` shows the same as it goes."""

import subprocess
import sys

import pytest

from tests.drills.site import ROOT

ALL_S = 15 * 60


@pytest.mark.drills
@pytest.mark.timeout(ALL_S + 60)
def test_every_incident_has_its_alert_and_its_remedy() -> None:
    command = [sys.executable, "-m", "tests.drills"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=ALL_S)
    assert done.returncode == 0, done.stdout + done.stderr
