"""The image's file: what a linter says of it, and that what it copies, runs and exposes is there."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from parquedb.cluster.deployment import probe

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "cluster" / "deployment" / "Containerfile"

if not FILE.is_file():
    pytest.skip("the file is not in a wheel", allow_module_level=True)


def lint(text: str) -> list[str]:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--format", "json", "-"], input=text, capture_output=True, text=True, check=False)
    return [one["code"] for one in json.loads(found.stdout)]


def test_the_linter_finds_nothing() -> None:
    assert lint(FILE.read_text()) == []


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (":3.12.12-slim-bookworm", "", "DL3006"),
        ("WORKDIR /source", "RUN cd /source", "DL3003"),
        ("RUN pip", "RUN sudo pip", "DL3004"),
    ],
)
def test_the_linter_finds_a_planted_fault(before: str, after: str, code: str) -> None:
    assert code in lint(FILE.read_text().replace(before, after))


def test_every_stage_stands_on_one_pinned_base() -> None:
    bases = set(re.findall(r"^FROM (\S+)", FILE.read_text(), flags=re.MULTILINE))
    assert len(bases) == 1
    assert re.fullmatch(r"docker\.io/library/python:\d+\.\d+\.\d+-slim-\w+", bases.pop())


def test_everything_that_makes_the_wheel_is_copied() -> None:
    copies = re.findall(r"^COPY (?!--)(.*) \S+$", FILE.read_text(), flags=re.MULTILINE)
    copied = {part for line in copies for part in line.split()}
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {folder.split("/")[0] for folder in setuptools["tool"]["setuptools"]["package-dir"].values()}
    needed |= {"pyproject.toml", setuptools["project"]["readme"], *setuptools["project"]["license-files"]}
    assert copied == needed
    allowed = {line[1:] for line in Path(f"{FILE}.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == copied


def test_it_does_not_run_as_root_and_as_whom_the_manifests_say() -> None:
    last = FILE.read_text().rpartition("FROM ")[2]
    assert re.findall(r"^USER (.*)$", last, flags=re.MULTILINE) == ["1000:1000"]
    assert "runAsUser: 1000\n" in (FILE.parent / "kubernetes" / "service" / "service.yaml").read_text()


def test_its_health_check_and_port_are_those_of_the_code() -> None:
    text = FILE.read_text()
    (module,) = re.findall(r'CMD \["python", "-m", "([\w.]+)"\]', text)
    assert module == probe.__name__
    assert find_spec(module) is not None
    assert re.findall(r"^EXPOSE (\d+)$", text, flags=re.MULTILINE) == [str(probe.GATEWAY.port)]
