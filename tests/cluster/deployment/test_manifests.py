"""The Kubernetes manifests in themselves: what the API server would say of them, and that none is left out."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import kubernetes
from tests.support.kubernetes import problems, render
from tests.support.manifests import MANIFESTS, OBJECTS, RENDERED, STAGES, at, named

if not MANIFESTS.is_dir():
    pytest.skip("the manifests are not in a wheel", allow_module_level=True)

every_object = pytest.mark.parametrize("where", OBJECTS, ids="-".join)


@every_object
def test_the_api_server_would_take_it(where: tuple[str, str]) -> None:
    assert problems(OBJECTS[where]) == []


GONE = object()
SERVICE, STATEFUL, CRON = "RayService/parquedb", "StatefulSet/parquedb-redis", "CronJob/parquedb-backup"
MONITOR, RULE, SETTINGS = "ServiceMonitor/parquedb", "PrometheusRule/parquedb", "ConfigMap/parquedb-settings"
CLUSTER = "spec.rayClusterConfig"
HEAD_POD = f"{CLUSTER}.headGroupSpec.template.spec"

# What is planted: where (a number is a place in a list), and which value.
PLANTED: dict[str, tuple[str, str, Any]] = {
    "a misspelt field of KubeRay": (SERVICE, "spec.rayClusterConfg", {}),
    "a wrong type of KubeRay": (SERVICE, f"{CLUSTER}.headGroupSpec.rayStartParams.num-cpus", 0),
    "a missing field of KubeRay": (SERVICE, f"{CLUSTER}.headGroupSpec.template", GONE),
    "a choice that KubeRay does not have": (SERVICE, "spec.upgradeStrategy.type", "Rolling"),
    "a missing name of a group": (SERVICE, f"{CLUSTER}.workerGroupSpecs.0.groupName", GONE),
    "a misspelt field of a pod in a Ray cluster": (SERVICE, f"{HEAD_POD}.serviceAcountName", "x"),
    "a wrong type of a pod in a Ray cluster": (SERVICE, f"{HEAD_POD}.terminationGracePeriodSeconds", "90"),
    "a missing field of a pod in a Ray cluster": (SERVICE, f"{HEAD_POD}.containers.0.name", GONE),
    "a misspelt field of Kubernetes": (STATEFUL, "spec.serviceNam", "x"),
    "a wrong type of Kubernetes": (CRON, "spec.startingDeadlineSeconds", "1h"),
    "a missing field of Kubernetes": (CRON, "spec.schedule", GONE),
    "a number where a text belongs": (SETTINGS, "data.PARQUEDB_ENGINE__QUERIES_MAX", 4),
    "a misspelt field of the Prometheus operator": (MONITOR, "spec.endpoint", []),
    "a wrong type of the Prometheus operator": (RULE, "spec.groups.0.name", 1),
    "a missing field of the Prometheus operator": (RULE, "spec.groups.0.rules.0.expr", GONE),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    key, path, value = PLANTED[fault]
    one = copy.deepcopy(named("service", key))
    *before, last = path.split(".")
    place = at(one, *before)
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    assert problems(one) != []


def test_a_kustomization_that_the_tests_cannot_render_is_no_silent_success(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nnamePrefix: x-\n")
    with pytest.raises(AssertionError, match="namePrefix"):
        render(tmp_path)


def test_every_manifest_is_part_of_something_that_is_rendered() -> None:
    # A component is switched on by hand.
    reached = {path for place in RENDERED for path in files_of(MANIFESTS / place)}
    reached |= files_of(MANIFESTS / "components" / "static-credentials")
    assert set(MANIFESTS.rglob("*.yaml")) == reached


def files_of(folder: Path) -> set[Path]:
    (said,) = kubernetes.objects_in(folder / "kustomization.yaml")
    found = {folder / "kustomization.yaml"}
    for name in said.get("resources", []):
        place = (folder / name).resolve()
        found |= files_of(place) if place.is_dir() else {place}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_credentials_from_a_secret_reach_all_that_use_the_store(stage: str, tmp_path: Path) -> None:
    where = tmp_path / "overlay"
    (said,) = kubernetes.objects_in(MANIFESTS / "overlays" / stage / "kustomization.yaml")
    said["resources"] = [str(MANIFESTS / "service")]
    said["components"] = [str(MANIFESTS / "components" / "static-credentials")]
    where.mkdir()
    (where / "kustomization.yaml").write_text(yaml.safe_dump(said))
    rendered = render(where)
    assert [problem for one in rendered for problem in problems(one)] == []
    users = [
        one
        for one in kubernetes.containers(rendered)
        if {"configMapRef": {"name": "parquedb-settings"}} in one.get("envFrom", [])
    ]
    assert len(users) == 4
    assert all({"secretRef": {"name": "parquedb-store"}} in one["envFrom"] for one in users)
