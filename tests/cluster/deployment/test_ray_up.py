"""The clusters for `ray up`: right for Ray's own launcher, without secrets, and with one version of everything."""

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

import parquedb
from parquedb.cluster.deployment import handover
from parquedb.settings import reference

FOLDER = Path(__file__).resolve().parents[3] / "cluster" / "deployment" / "ray_up"
FILES = ("aws", "on_premise")
every_file = pytest.mark.parametrize("name", FILES)

if not FOLDER.is_dir():
    pytest.skip("the cluster files are not in a wheel", allow_module_level=True)


def said(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def commands(name: str) -> list[str]:
    return [one for key, value in said(name).items() if key.endswith("commands") for one in value]


@every_file
def test_the_launcher_takes_it(name: str) -> None:
    prepared = prepare_config(said(name))
    validate_config(prepared)
    assert sum(one["max_workers"] for one in prepared["available_node_types"].values()) >= 3


PLANTED = {
    "a misspelt field": ("aws", lambda config: config.update(cluster_nam="x")),
    "a wrong type": ("aws", lambda config: config.update(max_workers="8")),
    "a missing field": ("aws", lambda config: config["provider"].pop("type")),
    "a misspelt field of ssh": ("on_premise", lambda config: config["auth"].update(ssh_usr="x")),
    "a wrong type of a node": ("aws", lambda config: config["available_node_types"]["worker"].update(min_workers="3")),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    name, plant = PLANTED[fault]
    config = copy.deepcopy(said(name))
    plant(config)
    with pytest.raises((jsonschema.ValidationError, KeyError)):
        validate_config(prepare_config(config))


@every_file
def test_nodes_install_pinned_versions(name: str) -> None:
    text = " ".join(commands(name))
    assert f"'parquedb[serve]=={parquedb.__version__}'" in text
    assert f"'ray[default,serve]=={ray.__version__}'" in text


@every_file
def test_the_installed_version_of_ray_knows_every_option(name: str) -> None:
    known = {option for parameter in start.params for option in parameter.opts}
    starts = [one for one in commands(name) if "ray start" in one]
    assert len(starts) == 2
    assert {option for one in starts for option in re.findall(r"--[a-z-]+", one)} <= known


@every_file
def test_every_node_asks_for_a_token_and_knows_its_settings(name: str) -> None:
    starts = [one for one in commands(name) if "ray start" in one]
    assert all("RAY_AUTH_MODE=token" in one and ". ~/parquedb.env" in one for one in starts)
    assert {"~/parquedb.env", "~/.ray/auth_token"} <= said(name)["file_mounts"].keys()


@every_file
def test_owners_say_goodbye_before_a_node_is_started_anew(name: str) -> None:
    first, second, _ = said(name)["worker_start_ray_commands"]
    assert (first, second) == (f"python -m {handover.__name__} || true", "ray stop")


@every_file
def test_no_secret_is_in_it(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    secret = {row.name for rows in reference.variables().values() for row in rows if "secret" in row.kind}
    assert [
        one for one in [*secret, "PARQUEDB_KEY", "RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY"] if f"{one}=" in text
    ] == []


@every_file
def test_owners_are_kept_off_the_head(name: str) -> None:
    config = said(name)
    if name == "aws":
        assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}
        assert "labels" not in config["available_node_types"]["head"]
        assert config["available_node_types"]["worker"]["labels"] == {"parquedb.dev/owners": "true"}
    else:
        assert "--num-cpus=0" in config["head_start_ray_commands"][-1]
        assert "--labels=parquedb.dev/owners=true" in config["worker_start_ray_commands"][-1]


@every_file
def test_files_that_are_ours_are_where_it_says(name: str) -> None:
    places = [FOLDER / local for local in said(name)["file_mounts"].values()]
    ours = [place for place in places if place.name == "serve.yaml"]
    assert len(ours) == 1
    assert ours[0].is_file()
    # The other two hold secrets.
    assert not any(place.exists() for place in places if place not in ours)
