"""The manifests in `cluster/deployment/kubernetes/`, rendered, and where things are in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.kubernetes import Object, key_of, render

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "cluster" / "deployment"
MANIFESTS = FILES / "kubernetes"
STAGES = ("staging", "production")
INSTALLED = ["service", "owners", *(f"overlays/{stage}" for stage in STAGES)]
RENDERED = [*INSTALLED, "check", *(f"overlays/{stage}/check" for stage in STAGES)]
# A wheel has none.
OBJECTS = {(place, key_of(one)): one for place in RENDERED if MANIFESTS.is_dir() for one in render(MANIFESTS / place)}


def named(place: str, key: str) -> Object:
    return OBJECTS[place, key]


def cluster(place: str) -> Object:
    if place == "owners":
        return named(place, "RayCluster/parquedb")["spec"]
    return named(place, "RayService/parquedb")["spec"]["rayClusterConfig"]


def groups(place: str) -> Iterator[Object]:
    spec = cluster(place)
    yield from [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def settings_of(place: str) -> dict[str, str]:
    return named(place, "ConfigMap/parquedb-settings")["data"]


def at(one: Any, *path: str) -> Any:
    for part in path:
        one = one[int(part)] if isinstance(one, list) else one[part]
    return one
