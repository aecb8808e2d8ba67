"""What the checkout says of itself where no page is: `make` and the command."""

import re
import subprocess
import sys

from tests.support.pages import ROOT


def test_make_prints_every_target_it_has() -> None:
    printed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"make ([a-z-]+)", printed)) == set(phony[1].split())


def test_the_command_says_what_it_can_do() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "parquedb.cluster.cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "demo" in answer.stdout
