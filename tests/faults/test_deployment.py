"""What is in cluster/deployment/, at work: owners on their nodes, the gateway on Serve, the exporter, the image."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import parquedb
from tests.support.collector import free_port

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENT = ROOT / "cluster" / "deployment"


def environment(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PARQUEDB_"))}
    return own | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"} | more


def told(code: str, *arguments: str, **more: str) -> dict[str, Any]:
    """Run a program and return the JSON object that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    return found


HANDOVER = """
    import json, sys, time
    import parquedb, ray
    from ray.cluster_utils import Cluster
    from parquedb.cluster.deployment import handover

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    workers = [cluster.add_node(num_cpus=0, labels={"parquedb.dev/owners": "true"}).node_id for _ in range(2)]
    db = parquedb.connect(sys.argv[1], ray_address=cluster.address, owner_labels={"parquedb.dev/owners": "true"})
    names = [f"n{number}" for number in range(5)]
    for name in names:
        db[name].create({"n": 1}, id="a")

    def seats():
        return {name: ray._private.state.actors(db[name].actor._actor_id.hex()) for name in names}

    before = {name: seat["Address"]["NodeID"] for name, seat in seats().items()}
    ending = before["n0"]
    leaving = [seat["Pid"] for seat in seats().values() if seat["Address"]["NodeID"] == ending]
    (node,) = [one for one in handover.nodes() if one.id == ending]
    drained = handover.drain(node, 60)
    began_s = time.monotonic()
    living = handover.hand_over(leaving)
    took_s = time.monotonic() - began_s
    began_s = time.monotonic()
    versions = [db[name].get("a")["version"] for name in names]
    answered_s = time.monotonic() - began_s
    after = {name: seat["Address"]["NodeID"] for name, seat in seats().items()}
    print(json.dumps({
        "workers": workers, "ending": ending, "before": before, "after": after, "drained": drained,
        "left": len(leaving), "living": living, "versions": versions, "took_s": took_s, "answered_s": answered_s,
    }))
    db.close()
    ray.shutdown()
    cluster.shutdown()
"""


def test_owners_keep_to_their_nodes_and_leave_one_that_ends(tmp_path: Path, figures: Callable[..., None]) -> None:
    found = told(HANDOVER, str(tmp_path / "db"))
    assert set(found["before"].values()) <= set(found["workers"]), "never the head"
    assert found["drained"], found
    assert (found["left"] > 0, found["living"]) == (True, [])
    (other,) = {*found["workers"]} - {found["ending"]}
    assert set(found["after"].values()) == {other}
    assert found["versions"] == [1] * 5
    # Who left has written `close`: open, create, close, and then the next owner's open.
    for name, node in found["before"].items():
        entries = len(list((tmp_path / "db" / name / "log").iterdir()))
        assert entries == (4 if node == found["ending"] else 2), name
    figures(owners=found["left"], handed_over_s=found["took_s"], all_answered_again_s=found["answered_s"])


SERVED = """
    import json, sys
    import ray, yaml
    from ray import serve
    from ray.serve._private.api import serve_start
    from ray.serve.schema import ServeDeploySchema

    said = yaml.safe_load(open(sys.argv[1]).read())
    said["http_options"] |= {"host": "127.0.0.1", "port": int(sys.argv[2])}
    # There is one node here, where three are asked for.
    said["applications"][0]["deployments"][0]["max_replicas_per_node"] = 3
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    client = serve_start(http_options=said["http_options"])
    client.deploy_apps(ServeDeploySchema(**said), _blocking=True)
    (status,) = serve.status().applications.values()
    (deployment,) = status.deployments.values()
    print(json.dumps({"status": status.status, "replicas": deployment.replica_states}), flush=True)
    sys.stdin.readline()
    serve.shutdown()
    ray.shutdown()
"""


def test_serve_runs_the_gateway_from_its_configuration_file(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", textwrap.dedent(SERVED), str(DEPLOYMENT / "serve.yaml"), str(port)]
    secrets = {"PARQUEDB_ACCESS__KEYS": "k" * 40, "PARQUEDB_GATEWAY__ACCESS__JWT_SECRETS": "s" * 40}
    issued = {"ISSUER": "https://login.example.com", "AUDIENCE": "parquedb"}
    env = environment(
        PARQUEDB_URL=str(tmp_path / "db"),
        PARQUEDB_ENVIRONMENT="production",
        PARQUEDB_ACCESS__REQUIRED="true",
        **secrets,
        **{f"PARQUEDB_GATEWAY__ACCESS__JWT_{name}": value for name, value in issued.items()},
    )
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        status = next((json.loads(line) for line in running.stdout if line.startswith("{")), None)
        try:
            assert status == {"status": "RUNNING", "replicas": {"RUNNING": 3}}
            url = f"http://127.0.0.1:{port}"
            assert httpx.get(f"{url}/ready", timeout=30).json()["status"] == "healthy"
            assert httpx.get(f"{url}/-/healthz", timeout=30).status_code == 200
            refused = httpx.post(f"{url}/v1/posts", json={"title": "No"}, timeout=30)
            assert refused.status_code == 401
            token = {"Authorization": f"Bearer {token_of('s' * 40, **issued)}"}
            made = httpx.post(f"{url}/v1/posts", json={"title": "Yes"}, headers=token, timeout=60)
            assert made.status_code == 201, made.text
        finally:
            running.communicate("\n", timeout=60)


def token_of(secret: str, **issued: str) -> str:
    import jwt  # noqa: PLC0415 - an extra

    claims = {"iss": issued["ISSUER"], "aud": issued["AUDIENCE"], "sub": "ada", "permissions": ["*:posts"]}
    return jwt.encode(claims | {"exp": int(time.time()) + 60}, secret, algorithm="HS256")


def test_the_exporter_shows_owners_until_it_is_told_to_end(ray_cluster: str, tmp_path: Path) -> None:
    code = "import sys; from parquedb.cluster.deployment import exporter; sys.exit(exporter.main(0))"
    env = environment(PARQUEDB_URL=str(tmp_path / "db"), PARQUEDB_RAY_ADDRESS=ray_cluster)
    env |= {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    with parquedb.connect(str(tmp_path / "db")) as db:
        db["posts"].create({"title": "Counted"})
        with subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stdout is not None
            url = next(line.strip() for line in running.stdout if line.startswith("http://"))
            shown = httpx.get(url.replace("0.0.0.0", "127.0.0.1"), timeout=30).text
            running.send_signal(signal.SIGTERM)
            _, complaints = running.communicate(timeout=60)
    assert running.returncode == 0, complaints
    assert re.search(r'parquedb_operations_total\{.*namespace="posts",operation="create",side="actor"\} 1\.0', shown)


# --- the image, without an engine: its steps, one after the other, into folders instead of layers


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in (DEPLOYMENT / "Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


@contextmanager
def single_gateway(python: Path, folder: Path) -> Iterator[str]:
    """Run what the image runs, on any free port of the loopback."""
    (command,) = [json.loads(rest) for name, rest in instructions() if name == "CMD"]
    assert command[-2:] == ["--host", "0.0.0.0"]
    command = [str(python.parent / command[0]), *command[1:-1], "127.0.0.1", "--port", "0", "--json"]
    # A Ray of its own, as in a container, and not the one that other tests have started on this machine.
    env = environment(PARQUEDB_URL=str(folder / "db"), RAY_ADDRESS="local") | {"PYTHONPATH": ""}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=folder) as running:
        assert running.stdout is not None
        url = next((json.loads(line)["url"] for line in running.stdout if line.startswith("{")), None)
        assert url is not None, "it ended before it listened"
        yield url
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0


def test_the_steps_of_the_image_give_a_gateway_that_its_health_check_finds_well(tmp_path: Path) -> None:
    """What is not tried: the base image, what pip resolves on the day, the user, and the engine."""
    steps = instructions()
    source, wheels, environment_ = tmp_path / "source", tmp_path / "wheels", tmp_path / "venv"
    source.mkdir()
    for name, rest in steps:
        if name == "COPY" and "--from" not in rest:
            *files, place = rest.split()
            for file in files:
                here = ROOT / file
                if here.is_dir():
                    shutil.copytree(here, source / place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(here, source)
    (wheel_step,) = [rest for name, rest in steps if name == "RUN" and "pip wheel" in rest]
    assert wheel_step == "pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ."
    wheel = [sys.executable, "-m", *wheel_step.replace("/wheels", str(wheels)).split(), "-q"]
    subprocess.run(wheel, cwd=source, check=True, timeout=120)
    (built,) = wheels.glob("*.whl")
    # All but our wheel is taken from here, where the same packages are installed already.
    venv.create(environment_, with_pip=True)
    python = environment_ / "bin" / "python"
    (site,) = environment_.glob("lib/python*/site-packages")
    (site / "here.pth").write_text(str(Path(httpx.__file__).parents[1]))
    install = [python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", f"{built}[serve]"]
    subprocess.run(install, check=True, timeout=120)
    plain = environment() | {"PYTHONPATH": ""}
    say = [python.parent / "parquedb", "--version"]
    assert subprocess.run(say, capture_output=True, text=True, check=True, env=plain, cwd=tmp_path).stdout.split() == [
        "parquedb",
        parquedb.__version__,
    ]
    where = "import parquedb.cluster.deployment as it; print(it.__file__)"
    placed = subprocess.run(
        [python, "-c", where], capture_output=True, text=True, check=True, env=plain, cwd=tmp_path
    ).stdout
    assert placed.startswith(str(environment_))
    with single_gateway(python, tmp_path) as url:
        port = url.rpartition(":")[2]
        # Nobody listens at port 1, and at Ray's usual one the Ray of another test may.
        places = f"Place({port}, '/health'), Place(1, '/')"
        check = f"import sys; from {PROBE} import Place, is_well; sys.exit(not is_well({places}))"
        assert subprocess.run([python, "-c", check], env=plain, cwd=tmp_path, check=False).returncode == 0
    assert subprocess.run([python, "-c", check], env=plain, cwd=tmp_path, check=False).returncode == 1


PROBE = "parquedb.cluster.deployment.probe"
