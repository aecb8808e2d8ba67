"""The Kubernetes manifests and our code: settings, secrets, versions, ports, sizes, and what is generated."""

import re
import subprocess
import sys
from importlib.resources import files

import pytest
import ray
import yaml
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

import parquedb
from parquedb.cluster.deployment import exporter, handover, probe, rules, sizing
from parquedb.cluster.gateway.deployment import NAME
from parquedb.settings import MIB, EngineSettings, env_name, reference
from parquedb.settings.environment import load_gateway_settings, load_settings
from parquedb.settings.gateway import GatewaySettings
from tests.support import kubernetes
from tests.support.kubernetes import key_of, render, walk
from tests.support.manifests import (
    FILES,
    INSTALLED,
    MANIFESTS,
    OBJECTS,
    RENDERED,
    ROOT,
    at,
    cluster,
    groups,
    named,
    settings_of,
)

if not MANIFESTS.is_dir():
    pytest.skip("the manifests are not in a wheel", allow_module_level=True)

every_object = pytest.mark.parametrize("where", OBJECTS, ids="-".join)
every_installation = pytest.mark.parametrize("place", INSTALLED)

VARIABLES = {row.name for rows in reference.variables().values() for row in rows}
SECRET_VARIABLES = {row.name for rows in reference.variables().values() for row in rows if "secret" in row.kind} | {
    env_name("key")
}
# What docs/deployment.md says to make beforehand, and with which keys.
SECRETS = {
    "parquedb-secrets": {"PARQUEDB_ACCESS__KEYS"},
    "parquedb-store": {"PARQUEDB_KEY", "PARQUEDB_SECRET"},
    "parquedb-ray-token": {"auth_token"},
    "parquedb-redis": {"password"},
    "parquedb-check": {"api-key"},
}


# --- what they say of our settings


def test_every_variable_of_ours_that_any_file_names_exists() -> None:
    texts = {
        path: path.read_text()
        for path in FILES.rglob("*")
        if path.suffix in {".yaml", ".py"} or "Container" in path.name
    }
    named_ = {
        (path.name, name) for path, text in texts.items() for name in re.findall(r"PARQUEDB_[A-Z_]+(?![A-Z_*<])", text)
    }
    assert {pair for pair in named_ if pair[1] not in VARIABLES} == set()
    assert len({name for _, name in named_}) > 10


@every_installation
def test_its_settings_are_what_our_classes_take(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_of(place).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PARQUEDB_ACCESS__KEYS", "k" * 32)
    settings, gateway = load_settings(), load_gateway_settings()
    assert settings.access.required
    assert gateway.environment == "production"
    assert gateway.access.authenticates
    assert "CHANGE" in settings.url or place.startswith("overlays/")
    assert settings.engine != EngineSettings()


def test_overlays_leave_no_placeholder() -> None:
    for place in RENDERED:
        if place.startswith("overlays/"):
            for one in render(MANIFESTS / place):
                assert "CHANGE-ME" not in yaml.safe_dump(one), f"{place}: {key_of(one)}"


@every_object
def test_no_secret_is_in_it(where: tuple[str, str]) -> None:
    one = OBJECTS[where]
    assert one["kind"] != "Secret"
    for path, value in walk(one):
        if path and path[-1] in SECRET_VARIABLES:
            pytest.fail(f"{path}: a value of {path[-1]}")
        if isinstance(value, dict) and value.get("name") in {*SECRET_VARIABLES, "RAY_AUTH_TOKEN", "REDIS_PASSWORD"}:
            assert "value" not in value, f"{path}: a value of {value['name']}"
        if path and path[-1] in {"redisPassword", "redisUsername"}:
            assert "value" not in value


@every_object
def test_every_secret_that_it_names_is_one_that_the_documentation_says_to_make(where: tuple[str, str]) -> None:
    for _, value in walk(OBJECTS[where]):
        if not isinstance(value, dict):
            continue
        if "secretKeyRef" in value:
            reference_ = value["secretKeyRef"]
            assert reference_["key"] in SECRETS[reference_["name"]]
        if "secretRef" in value:
            assert value["secretRef"]["name"] in SECRETS
        if "authOptions" in value:
            assert value["authOptions"]["secretName"] in SECRETS


@pytest.mark.parametrize("secret", SECRETS)
def test_the_documentation_says_how_to_make_a_secret(secret: str) -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    commands = re.findall(rf"create secret generic {secret}\b.*?(?=\n(?!  )|```)", page, flags=re.DOTALL)
    assert commands, f"docs/deployment.md does not make {secret}"
    assert all(any(f"{key}=" in command for command in commands) for key in SECRETS[secret])


# --- what they say of our code and of Ray


@every_installation
def test_all_containers_run_one_version_which_is_this_one(place: str) -> None:
    images = {one["image"] for one in kubernetes.containers(render(MANIFESTS / place))}
    ours = {image for image in images if "parquedb" in image}
    assert ours == {f"registry.example.com/parquedb:{parquedb.__version__}"}
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images), "every image is pinned"


@every_installation
def test_ray_is_the_version_that_the_image_has_and_the_tests_ran_with(place: str) -> None:
    container = (FILES / "Containerfile").read_text()
    assert cluster(place)["rayVersion"] == ray.__version__
    assert f"ARG RAY_VERSION={ray.__version__}\n" in container


@every_installation
def test_every_start_parameter_is_an_option_of_ray_start(place: str) -> None:
    from ray.scripts.scripts import start  # noqa: PLC0415 - a command line

    known = {option.removeprefix("--") for parameter in start.params for option in parameter.opts}
    assert {name for group in groups(place) for name in group["rayStartParams"]} <= known


@every_installation
def test_nothing_but_the_cluster_runs_on_the_head(place: str) -> None:
    head, *workers = groups(place)
    assert head["rayStartParams"]["num-cpus"] == "0"
    (label,) = [pair.split("=") for pair in settings_of(place)["PARQUEDB_OWNER_LABELS"].split(",")]
    assert all(group["labels"].get(label[0]) == label[1] for group in workers)
    assert label[0] not in head.get("labels", {})


@every_installation
def test_probes_ask_where_ray_and_serve_answer_without_a_token(place: str) -> None:
    serve = yaml.safe_load((FILES / "serve.yaml").read_text())
    asked = set()
    for group in groups(place):
        container = group["template"]["spec"]["containers"][0]
        for kind in ("readinessProbe", "livenessProbe"):
            get = container[kind]["httpGet"]
            asked.add((get["port"], get["path"]))
    agent = {(probe.NODE.port, path) for path in PUBLIC_EXACT_PATHS}
    assert asked <= agent | {(serve["http_options"]["port"], "/-/healthz")}
    assert (probe.NODE.port, probe.NODE.path) in agent


@every_installation
def test_ports_are_those_that_our_code_and_serve_listen_on(place: str) -> None:
    ports = {
        port["name"]: port["containerPort"]
        for one in kubernetes.containers(cluster(place))
        for port in one.get("ports", [])
    }
    assert ports["exporter"] == exporter.PORT
    service = named(place, "Service/parquedb-metrics")["spec"]
    (endpoint,) = named(place, "ServiceMonitor/parquedb")["spec"]["endpoints"]
    assert [(port["name"], port["port"]) for port in service["ports"]] == [("exporter", exporter.PORT)]
    assert (endpoint["port"], endpoint["path"], endpoint["honorLabels"]) == ("exporter", "/metrics", True)
    if place != "owners":
        assert ports["serve"] == GatewaySettings().port == probe.GATEWAY.port
        (rule,) = named(place, "Ingress/parquedb")["spec"]["rules"]
        backend = rule["http"]["paths"][0]["backend"]["service"]
        # KubeRay calls the Service of a RayService so.
        assert backend == {"name": "parquedb-serve-svc", "port": {"number": ports["serve"]}}


@every_installation
def test_the_exporter_is_there_once_and_comes_back_by_itself(place: str) -> None:
    found = [one for one in kubernetes.containers(cluster(place)) if exporter.__name__ in one.get("command", ())]
    # The pods of a Ray cluster that scales are not restarted: only a sidecar is.
    assert [one["restartPolicy"] for one in found] == ["Always"]
    assert found == cluster(place)["headGroupSpec"]["template"]["spec"]["initContainers"]


@every_installation
def test_selectors_find_the_pods_that_they_mean(place: str) -> None:
    pods = [group["template"]["metadata"]["labels"] for group in groups(place)]
    pods.append(named(place, "StatefulSet/parquedb-redis")["spec"]["template"]["metadata"]["labels"])

    def found(wanted: dict[str, str]) -> int:
        return sum(wanted.items() <= labels.items() for labels in pods)

    def labels_of(key: str, *path: str) -> dict[str, str]:
        return at(named(place, key), "spec", *path)

    assert found(labels_of("PodDisruptionBudget/parquedb-workers", "selector", "matchLabels")) == 1
    assert found(labels_of("Service/parquedb-metrics", "selector")) == 1
    assert found(labels_of("Service/parquedb-redis", "selector")) == 1
    assert found(labels_of("NetworkPolicy/parquedb-cluster", "podSelector", "matchLabels")) == 2
    monitored = labels_of("ServiceMonitor/parquedb", "selector", "matchLabels")
    assert monitored.items() <= named(place, "Service/parquedb-metrics")["metadata"]["labels"].items()


@every_installation
def test_a_pod_has_time_for_the_way_out(place: str) -> None:
    for group in cluster(place)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["python", "-m", handover.__name__]
        needed_s = handover.TIMEOUT_S + handover.DRAIN_TIMEOUT_S + GatewaySettings().shutdown_s
        assert pod["terminationGracePeriodSeconds"] > needed_s


@every_installation
def test_a_disruption_budget_lets_one_worker_go_and_no_more(place: str) -> None:
    (group,) = cluster(place)["workerGroupSpecs"]
    budget = named(place, "PodDisruptionBudget/parquedb-workers")["spec"]["minAvailable"]
    assert budget == group["minReplicas"] - 1


@pytest.mark.parametrize("place", [place for place in INSTALLED if place != "owners"])
def test_each_worker_has_one_replica_of_the_gateway_and_there_are_as_many_as_serve_may_ask_for(place: str) -> None:
    (group,) = cluster(place)["workerGroupSpecs"]
    config = yaml.safe_load(named(place, "RayService/parquedb")["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    scaling = deployment["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (group["minReplicas"], group["maxReplicas"])
    assert deployment["max_replicas_per_node"] == 1
    assert float(group["rayStartParams"]["num-cpus"]) == application["args"]["num_cpus"]
    assert deployment["name"] == application["name"] == NAME
    assert scaling["target_ongoing_requests"] < GatewaySettings().requests_max


def test_the_gateway_is_configured_alike_for_kubernetes_and_for_serve_deploy() -> None:
    inside = yaml.safe_load(named("service", "RayService/parquedb")["spec"]["serveConfigV2"])
    assert inside == yaml.safe_load((FILES / "serve.yaml").read_text())


def in_bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG]i)", quantity).groups()  # type: ignore[union-attr]
    return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30}[unit]


@every_installation
def test_memory_is_limited_and_has_room_for_the_object_store(place: str) -> None:
    for group in groups(place):
        pod = group["template"]["spec"]
        for container in pod["containers"]:
            resources = container["resources"]
            assert resources["limits"]["memory"] == resources["requests"]["memory"]
        (shared,) = [
            in_bytes(one["emptyDir"]["sizeLimit"])
            for one in pod["volumes"]
            if one["emptyDir"].get("medium") == "Memory"
        ]
        assert int(group["rayStartParams"]["object-store-memory"]) < shared
        assert shared < in_bytes(pod["containers"][0]["resources"]["limits"]["memory"]) / 2


@pytest.mark.parametrize(
    ("place", "owners"), [("service", 7), ("owners", 7), ("overlays/production", 7), ("overlays/staging", 2)]
)
def test_a_worker_has_room_for_so_many_owners_that_are_all_at_their_limits(
    place: str, owners: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings_of(place).items():
        monkeypatch.setenv(name, value)
    each = sum(sizing.owner_bytes(load_settings().engine).values())
    (group,) = cluster(place)["workerGroupSpecs"]
    pod = group["template"]["spec"]
    (shared,) = [
        in_bytes(one["emptyDir"]["sizeLimit"]) for one in pod["volumes"] if one["emptyDir"].get("medium") == "Memory"
    ]
    # Ray itself, Serve's proxy and a replica.
    left = in_bytes(pod["containers"][0]["resources"]["limits"]["memory"]) - shared - 2048 * MIB
    assert owners * each <= left < (owners + 1) * each


# --- what is generated


def test_the_rules_are_those_of_the_package() -> None:
    assert (MANIFESTS / "common" / "alerts.yaml").read_text() == rules.prometheus_rule(), (
        "stale: python -m parquedb.cluster.deployment.rules > cluster/deployment/kubernetes/common/alerts.yaml"
    )
    packaged = yaml.safe_load((files("parquedb.observability.prometheus") / "alerts.yml").read_text())
    assert named("service", "PrometheusRule/parquedb")["spec"] == packaged


def test_the_command_prints_the_rules() -> None:
    command = [sys.executable, "-m", "parquedb.cluster.deployment.rules"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == rules.prometheus_rule()


@every_installation
def test_no_container_may_become_more_than_it_is(place: str) -> None:
    for one in render(MANIFESTS / place):
        for container in kubernetes.containers(one):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for _, value in walk([OBJECTS[at_] for at_ in OBJECTS if at_[0] == place]):
        if isinstance(value, dict) and "containers" in value:
            assert value["securityContext"]["runAsNonRoot"] is True
