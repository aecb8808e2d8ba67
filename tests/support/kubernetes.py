"""Kubernetes objects in tests: rendered as `kubectl kustomize` does, as far as ours need it, and held to their schemas.

What this knows of kustomize: `resources`, `components`, `namespace`, `images` (newTag) and `patches` of JSON operations
with a `target` of kind and name. Anything else is an error here, so that a manifest cannot mean more to kubectl than to
the tests.
"""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

KUBERNETES = "1.37.0"
SCHEMAS = Path(__file__).resolve().parents[1] / "cluster" / "deployment" / "schemas"
OWN_SCHEMAS = {"ray.io/v1": "kuberay", "monitoring.coreos.com/v1": "prometheus-operator"}
CLUSTER_WIDE = {"Namespace"}

Object = dict[str, Any]


def objects_in(path: Path) -> list[Object]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def render(folder: Path) -> list[Object]:
    """Return what `kubectl kustomize folder` prints."""
    (said,) = objects_in(folder / "kustomization.yaml")
    rendered: list[Object] = []
    for name in said.get("resources", []):
        place = folder / name
        rendered += render(place) if place.is_dir() else objects_in(place)
    _apply(folder, said, rendered)
    keys = [key_of(one) for one in rendered]
    assert len(set(keys)) == len(keys), f"{folder}: an object is there twice"
    return rendered


def key_of(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def _apply(folder: Path, said: Object, rendered: list[Object]) -> None:
    known = {"apiVersion", "kind", "resources", "components", "namespace", "images", "patches"}
    assert said.keys() <= known, f"{folder}: kustomize fields that these tests do not render: {said.keys() - known}"
    for name in said.get("components", []):
        (component,) = objects_in(folder / name / "kustomization.yaml")
        assert component["kind"] == "Component"
        _apply(folder / name, component, rendered)
    for patch in said.get("patches", []):
        targets = [one for one in rendered if _is_target(one, patch["target"])]
        assert targets, f"{folder}: nothing to patch at {patch['target']}"
        for one in targets:
            for operation in yaml.safe_load(patch["patch"]):
                _patch(one, operation)
    for image in said.get("images", []):
        for container in containers(rendered):
            name, _, _ = container["image"].rpartition(":")
            if name == image["name"]:
                container["image"] = f"{name}:{image['newTag']}"
    for one in rendered:
        if "namespace" in said and one["kind"] not in CLUSTER_WIDE:
            one["metadata"]["namespace"] = said["namespace"]


def _is_target(one: Object, target: Object) -> bool:
    assert target.keys() == {"kind", "name"}
    return one["kind"] == target["kind"] and one["metadata"]["name"] == target["name"]


def _patch(one: Object, operation: Object) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = one
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place[part]
    value = copy.deepcopy(operation["value"])
    if operation["op"] == "add" and isinstance(place, list):
        assert last == "-", "these tests add at the end of lists only"
        place.append(value)
        return
    key = int(last) if isinstance(place, list) else last
    if operation["op"] == "replace":
        place[key]  # What is replaced must be there, as JSON Patch says.
    else:
        assert operation["op"] == "add"
    place[key] = value


def containers(value: Any) -> Iterator[Object]:
    """Yield every container anywhere in it, as kustomize finds images."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"containers", "initContainers"}:
                yield from inner
            yield from containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from containers(inner)


def walk(value: Any, *path: str | int) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield every value in it with its path, itself included."""
    yield path, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from walk(inner, *path, key)


@cache
def _registry() -> Registry:
    definitions = schema_contents(f"kubernetes-json-schema/v{KUBERNETES}-local-strict/_definitions.json", KUBERNETES)
    own = [yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text()) for name in OWN_SCHEMAS.values()]
    return Registry().with_resources((one["$id"], Resource.from_contents(one)) for one in [definitions, *own])


def problems(one: Object) -> list[str]:
    """Return what the API server would refuse of an object: unknown fields, wrong types, missing ones."""
    schema = OWN_SCHEMAS.get(one["apiVersion"])
    if schema is None:
        try:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            return [error.message]
        return []
    wanted = {"$ref": f"https://parquedb.dev/schemas/{schema}#/$defs/{one['kind']}"}
    validator = jsonschema.Draft202012Validator(wanted, registry=_registry())
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(one)]
