"""The gateway as a configuration file of Serve: what Serve's own schema says, and what is built of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from parquedb.cluster.deployment.application import Arguments
from parquedb.cluster.gateway.deployment import NAME, _with_environment

schema = pytest.importorskip("ray.serve.schema", reason="ray[serve] is not installed")

FILE = Path(__file__).resolve().parents[3] / "cluster" / "deployment" / "serve.yaml"

if not FILE.is_file():
    pytest.skip("the configuration is not in a wheel", allow_module_level=True)


def unknown(said: Any, model: BaseModel) -> list[str]:
    """Serve passes over what it does not know; so what it knows has to be compared."""
    found = []
    for key, value in said.items():
        if key not in type(model).model_fields:
            found.append(key)
        elif isinstance(held := getattr(model, key), BaseModel):
            found += unknown(value, held)
        elif isinstance(held, list):
            found += [one for each, inner in zip(value, held, strict=True) for one in unknown(each, inner)]
    return found


def test_serve_takes_it_and_knows_every_word_of_it() -> None:
    said = yaml.safe_load(FILE.read_text())
    assert unknown(said, schema.ServeDeploySchema(**said)) == []
    said["applications"][0]["deployments"][0]["num_replica"] = 1
    said["applications"][0]["import_pat"] = "x"
    assert sorted(unknown(said, schema.ServeDeploySchema(**said))) == ["import_pat", "num_replica"]


def test_its_arguments_are_those_that_the_application_takes() -> None:
    (application,) = yaml.safe_load(FILE.read_text())["applications"]
    assert Arguments(**application["args"]).num_cpus == 1
    assert application["import_path"] == f"{Arguments.__module__}:build"
    assert [one["name"] for one in application["deployments"]] == [NAME]
    with pytest.raises(ValidationError):
        Arguments(num_cpu=1)  # type: ignore[call-arg]


def test_what_a_replica_needs_in_its_environment_is_added_to_the_options_given() -> None:
    given = {"num_cpus": 1, "runtime_env": {"env_vars": {"MINE": "1"}, "pip": ["x"]}}
    options = _with_environment(given)
    assert options["num_cpus"] == 1
    assert options["runtime_env"]["pip"] == ["x"]
    assert options["runtime_env"]["env_vars"]["MINE"] == "1"
    assert options["runtime_env"]["env_vars"]["RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"] == "0"
    assert "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD" not in given["runtime_env"]["env_vars"]
